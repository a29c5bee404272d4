internal import Glibc

enum StandardInput {
  /// All of standard input.
  ///
  /// - Throws: ``CommandFailure`` when it is longer than `limit` bytes, or cannot be read; ``InputError/interrupted``.
  static func read(limit: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      guard try ByteInput.isReadable(STDIN_FILENO) else { continue }
      let count = Glibc.read(STDIN_FILENO, &chunk, chunk.count)
      if count < 0 {
        if errno == EINTR || errno == EAGAIN { continue }
        throw CommandFailure(
          .badInput, "badInput", "standard input cannot be read: \(String(cString: strerror(errno)))")
      }
      if count == 0 { return bytes }
      bytes.append(contentsOf: chunk[..<count])
      guard bytes.count <= limit else {
        throw CommandFailure(
          .badInput, "badInput",
          "standard input is longer than the \(limit) bytes that a payload may have; nothing was written")
      }
    }
  }
}

/// The lines of standard input as they come. While there is none, no thread waits for it.
struct ArrivingLines {
  private var bytes: [UInt8] = []
  private var isOver = false

  /// Without its end; `nil`: there is no more.
  mutating func next() async throws -> [UInt8]? {
    while true {
      if let end = bytes.firstIndex(of: UInt8(ascii: "\n")) {
        defer { bytes.removeSubrange(...end) }
        return Array(bytes[..<end])
      }
      if isOver {
        defer { bytes = [] }
        return bytes.isEmpty ? nil : bytes
      }
      var input = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
      guard poll(&input, 1, 0) > 0 else {
        try await Task.sleep(for: .milliseconds(5))
        continue
      }
      var chunk = [UInt8](repeating: 0, count: 1 << 16)
      let count = Glibc.read(STDIN_FILENO, &chunk, chunk.count)
      if count < 0, errno == EINTR || errno == EAGAIN { continue }
      if count <= 0 { isOver = true } else { bytes += chunk[..<count] }
    }
  }
}
