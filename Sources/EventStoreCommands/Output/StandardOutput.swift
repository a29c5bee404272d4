internal import Glibc
internal import Synchronization

/// Standard output, buffered by us: a line a `write` would cost more than the event in it.
final class StandardOutput {
  private var buffer: [UInt8] = []
  private let descriptor: Int32
  let terminal: Terminal

  /// The first reason why output of this process got lost: an error number; 0 if there was none.
  private static let loss = Atomic<Int32>(0)

  init(descriptor: Int32 = STDOUT_FILENO) {
    self.descriptor = descriptor
    terminal = Terminal(
      descriptor: descriptor, noColor: CommandEnvironment.variable("NO_COLOR"),
      term: CommandEnvironment.variable("TERM"))
    buffer.reserveCapacity(1 << 16)
  }

  /// Writes to an open file.
  init(file descriptor: Int32) {
    self.descriptor = descriptor
    terminal = .plain
  }

  deinit { flush() }

  /// Nothing that is written arrives any more: a command that would go on for long can stop.
  static var isLost: Bool { loss.load(ordering: .relaxed) != 0 }

  /// Runs `body` until it ends, is interrupted, or nothing that is written arrives any more: without looking, a command that
  /// follows would notice that only at the next event, which may never come.
  static func whileRead(_ body: @escaping @Sendable () async throws -> Void) async throws {
    try await withThrowingTaskGroup { group in
      group.addTask { try await body() }
      group.addTask { await readerGone() }
      try await group.next()
      group.cancelAll()
      try await group.waitForAll()
    }
  }

  /// Waits until nobody reads standard output any more, as after `| head` has had enough, or it cannot be written, as to a
  /// full disk; or until cancelled.
  private static func readerGone() async {
    while !Task.isCancelled, !isLost, !isReaderGone { try? await Task.sleep(for: .milliseconds(200)) }
  }

  static var isReaderGone: Bool {
    // Without events asked for, only errors are told: of a pipe, that its reading end is closed.
    var output = pollfd(fd: STDOUT_FILENO, events: 0, revents: 0)
    return poll(&output, 1, 0) > 0 && output.revents & Int16(POLLERR | POLLHUP | POLLNVAL) != 0
  }

  /// - Parameter name: Of where it went.
  /// - Throws: ``CommandFailure`` when output was lost. A reader that went away, as `head` does, had enough: that is
  ///   no failure.
  static func checkArrival(in name: String = "the output") throws {
    let number = loss.load(ordering: .relaxed)
    guard number != 0, number != EPIPE else { return }
    throw CommandFailure(.failed, "cannotWrite", "cannot write \(name): \(String(cString: strerror(number)))")
  }

  /// A line for people, or several: what came from data does nothing to a terminal.
  func line(_ text: String) {
    buffer.append(contentsOf: TextWidth.harmless(text).utf8)
    buffer.append(UInt8(ascii: "\n"))
    if terminal.isInteractive || buffer.count >= 1 << 16 { flush() }
  }

  func line(_ value: JSONValue) {
    buffer.append(contentsOf: value.bytes)
    endLine()
  }

  /// One or the other.
  func line(_ value: JSONValue, or text: String, json: Bool) { json ? line(value) : line(text) }

  /// As ``line(_:)-(String)``, without a line end.
  func text(_ text: String) {
    buffer.append(contentsOf: TextWidth.harmless(text).utf8)
    if terminal.isInteractive { flush() }
  }

  /// Text that was asked for as it is. On a terminal as ``text(_:)``.
  func exactly(_ text: String) {
    guard !terminal.isInteractive else { return self.text(text) }
    buffer.append(contentsOf: text.utf8)
  }

  /// Empties a terminal.
  func clear() {
    guard terminal.isInteractive else { return }
    buffer.append(contentsOf: "\u{1B}[H\u{1B}[2J".utf8)
    flush()
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
        if errno == EAGAIN {
          // Whoever started us left it so.
          var room = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
          _ = poll(&room, 1, 1000)
          continue
        }
        _ = Self.loss.compareExchange(expected: 0, desired: errno, ordering: .relaxed)
        break
      }
      start += written
    }
    buffer.removeAll(keepingCapacity: true)
  }

  /// A line for people on standard error.
  static func complain(_ text: String) { ProgressBar.writeToStandardError(TextWidth.harmless(text) + "\n") }

  /// A line for programs on standard error.
  static func complain(_ value: JSONValue) {
    ProgressBar.writeToStandardError(String(decoding: value.bytes, as: UTF8.self) + "\n")
  }
}
