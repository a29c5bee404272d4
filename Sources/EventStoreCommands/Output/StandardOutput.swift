internal import Glibc

/// Standard output, buffered by us: a line a `write` would cost more than the event in it.
final class StandardOutput {
  private var buffer: [UInt8] = []
  private let descriptor: Int32
  let terminal: Terminal

  init(descriptor: Int32 = STDOUT_FILENO) {
    self.descriptor = descriptor
    terminal = Terminal(
      descriptor: descriptor, noColor: CommandEnvironment.variable("NO_COLOR"),
      term: CommandEnvironment.variable("TERM"))
    buffer.reserveCapacity(1 << 16)
  }

  /// A file instead, readable by its owner only.
  ///
  /// - Throws: ``CommandFailure`` when it cannot be made.
  init(creating path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw CommandFailure(.failed, "cannotWrite", "cannot write \(path): \(String(cString: strerror(errno)))")
    }
    self.descriptor = descriptor
    terminal = .plain
  }

  deinit { flush() }

  func line(_ text: String) {
    buffer.append(contentsOf: text.utf8)
    buffer.append(UInt8(ascii: "\n"))
    if terminal.isInteractive || buffer.count >= 1 << 16 { flush() }
  }

  func line(_ value: JSONValue) {
    buffer.append(contentsOf: value.bytes)
    endLine()
  }

  func text(_ text: String) {
    buffer.append(contentsOf: text.utf8)
    if terminal.isInteractive { flush() }
  }

  /// Lets `body` append a line, without its end.
  func line(_ body: (inout [UInt8]) -> Void) {
    body(&buffer)
    endLine()
  }

  private func endLine() {
    buffer.append(UInt8(ascii: "\n"))
    if buffer.count >= 1 << 16 { flush() }
  }

  func flush() {
    var start = 0
    while start < buffer.count {
      let written = buffer.withUnsafeBytes { write(descriptor, $0.baseAddress.map { $0 + start }, $0.count - start) }
      if written < 0 {
        if errno == EINTR { continue }
        // Nobody reads any more: what is left is of no use to anyone.
        break
      }
      start += written
    }
    buffer.removeAll(keepingCapacity: true)
  }

  /// A line on standard error.
  static func complain(_ text: String) {
    ProgressBar.writeToStandardError(text + "\n")
  }
}
