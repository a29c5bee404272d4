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
