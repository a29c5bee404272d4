import Synchronization

#if canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// How far a long task is: on a terminal one line that is drawn again, elsewhere a plain line now and then.
///
/// May be told of progress from any thread, as often as one likes: most calls only add a number.
package final class ProgressBar: Sendable {
  package enum Unit: Hashable, Sendable {
    /// Things with a name in the plural, as `events`.
    case count(String)
    case bytes
  }

  private struct State {
    var completed = 0
    var total: Int?
    var detail = ""
    var lastDrawn: Duration?
    var lastSample: (at: Duration, completed: Int)
    /// Units a second; nil until there is a first sample.
    var rate: Double?
    var drawnWidth = 0
    var isFinished = false
  }

  /// At most ten times a second on a terminal, every five seconds elsewhere.
  private static let redrawInterval = Duration.milliseconds(100)
  private static let lineInterval = Duration.seconds(5)
  /// The rate follows changes within about this many seconds; until then it is the plain average.
  private static let smoothing = 4.0
  /// Earlier than this a rate says nothing.
  private static let firstRate = Duration.milliseconds(300)

  private let label: String
  private let unit: Unit
  private let isInteractive: Bool
  private let width: @Sendable () -> Int
  private let now: @Sendable () -> Duration
  private let output: @Sendable (String) -> Void
  private let start: Duration
  private let state: Mutex<State>

  /// - Parameters:
  ///   - total: nil if it is not known: then there is no bar, only count and rate.
  ///   - terminal: what standard error is.
  ///   - width: the columns to draw in, asked before each drawing, since a window can change.
  ///   - now: a clock that never goes back.
  ///   - output: takes the text; standard error if nothing else is said.
  package init(
    _ label: String, total: Int?, unit: Unit, terminal: Terminal,
    width: (@Sendable () -> Int)? = nil,
    now: @escaping @Sendable () -> Duration = ProgressBar.monotonicNow,
    output: @escaping @Sendable (String) -> Void = ProgressBar.writeToStandardError
  ) {
    self.label = label
    self.unit = unit
    isInteractive = terminal.isInteractive
    let fallback = terminal.width ?? 80
    self.width = width ?? { Terminal.width(of: STDERR_FILENO) ?? fallback }
    self.now = now
    self.output = output
    start = now()
    state = Mutex(State(total: total, lastSample: (start, 0)))
  }

  /// Adds to what is done.
  package func advance(by amount: Int = 1) { change { $0.completed += amount } }

  /// Says how much is done in all.
  package func update(completed: Int) { change { $0.completed = completed } }

  /// Says how much is done in all, and adds a few words, as how many were skipped.
  package func update(completed: Int, detail: String) {
    change {
      $0.completed = completed
      $0.detail = detail
    }
  }

  /// Says how much there is, or that it is not known.
  package func update(total: Int?) { change { $0.total = total } }

  /// Writes a line of its own above the bar: a warning, a skipped row.
  package func print(_ line: String) {
    state.withLock { state in
      let cleared = clearing(state)
      output(cleared + TextWidth.harmless(line) + "\n")
      state.drawnWidth = 0
      if isInteractive, !state.isFinished { draw(&state, at: now()) }
    }
  }

  /// Draws the end: how much was done, in what time. Later calls change nothing.
  package func finish() {
    state.withLock { state in
      guard !state.isFinished else { return }
      state.isFinished = true
      let elapsed = now() - start
      let seconds = Self.seconds(elapsed)
      var parts = [amount(state)]
      if seconds > 0 { parts.append("\(Quantity.duration(elapsed))") }
      if seconds > 0.05 { parts.append(perSecond(Double(state.completed) / seconds)) }
      if !state.detail.isEmpty { parts.append(state.detail) }
      output(clearing(state) + "\(label): \(parts.joined(separator: ", "))\n")
      state.drawnWidth = 0
    }
  }

  // MARK: - Drawing

  private func change(_ body: (inout State) -> Void) {
    state.withLock { state in
      guard !state.isFinished else { return }
      body(&state)
      let now = self.now()
      // A bar shows at once; a line in a log only when there is something to wait for.
      let last = state.lastDrawn ?? (isInteractive ? now - Self.redrawInterval : start)
      if now - last >= (isInteractive ? Self.redrawInterval : Self.lineInterval) { draw(&state, at: now) }
    }
  }

  private func draw(_ state: inout State, at now: Duration) {
    state.lastDrawn = now
    sample(&state, at: now)
    let parts = [amount(state)] + [state.rate.map(perSecond), timeLeft(state)].compactMap { $0 }
    var text = parts.joined(separator: ", ")
    if !state.detail.isEmpty { text += ", \(state.detail)" }
    let percent = fraction(state).map { "\(Int($0 * 100)) %" }
    guard isInteractive else {
      return output("\(label): \(percent.map { "\($0), " } ?? "")\(text)\n")
    }

    // The last column stays free: writing into it wraps the line on some terminals.
    let width = max(10, self.width() - 1)
    var line = label + " "
    if let fraction = fraction(state), let percent {
      let tail = " \(TextWidth.padded(percent, to: 5, alignedRight: true))  \(text)"
      let room = min(30, width - TextWidth.of(line) - TextWidth.of(tail))
      if room >= 5 { line += bar(fraction, width: room) }
      line += tail
    } else {
      line += " " + text
    }
    line = TextWidth.truncated(line, to: width)
    let drawn = TextWidth.of(line)
    output("\r" + line + String(repeating: " ", count: max(0, state.drawnWidth - drawn)))
    state.drawnWidth = drawn
  }

  private func bar(_ fraction: Double, width: Int) -> String {
    let eighths = Int(fraction * Double(width * 8))
    let full = eighths / 8
    var result = String(repeating: "█", count: full)
    if full < width {
      result += ["░", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]
      result += String(repeating: "░", count: width - full - 1)
    }
    return result
  }

  /// Goes to the start of the drawn line and blanks it.
  private func clearing(_ state: State) -> String {
    state.drawnWidth == 0 ? "" : "\r" + String(repeating: " ", count: state.drawnWidth) + "\r"
  }

  // MARK: - Numbers

  private func sample(_ state: inout State, at now: Duration) {
    let elapsed = Self.seconds(now - state.lastSample.at)
    guard elapsed > 0, now - start >= Self.firstRate else { return }
    let current = Double(state.completed - state.lastSample.completed) / elapsed
    if let rate = state.rate {
      // An average in which the past fades: as much of the new rate as time has passed, 1 - e^-t to first
      // order.
      let past = min(Self.smoothing, Self.seconds(state.lastSample.at - start))
      let weight = elapsed / (elapsed + past)
      state.rate = rate + (current - rate) * weight
    } else {
      state.rate = current
    }
    state.lastSample = (now, state.completed)
  }

  private func fraction(_ state: State) -> Double? {
    guard let total = state.total else { return nil }
    return total <= 0 ? 1 : min(1, max(0, Double(state.completed) / Double(total)))
  }

  private func timeLeft(_ state: State) -> String? {
    guard let total = state.total, let rate = state.rate, rate > 0, total > state.completed else {
      return nil
    }
    return Quantity.duration(.seconds(min(Double(total - state.completed) / rate, 1e9))) + " left"
  }

  private func amount(_ state: State) -> String {
    switch unit {
    case .count(let name):
      let total = state.total.map { " of \(Quantity.count($0))" } ?? ""
      return "\(Quantity.count(state.completed))\(total) \(name)"
    case .bytes:
      let total = state.total.map { " of \(Quantity.bytes($0))" } ?? ""
      return "\(Quantity.bytes(state.completed))\(total)"
    }
  }

  private func perSecond(_ rate: Double) -> String {
    let whole = Int(min(max(0, rate.rounded()), 1e15))
    return unit == .bytes ? "\(Quantity.bytes(whole))/s" : "\(Quantity.count(whole))/s"
  }

  private static func seconds(_ duration: Duration) -> Double {
    Double(duration.components.seconds) + Double(duration.components.attoseconds) / 1e18
  }

  // MARK: - The world

  /// The system's monotonic clock.
  @Sendable
  package static func monotonicNow() -> Duration {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
  }

  /// Writes to standard error. What cannot be written is dropped: progress is not worth failing for.
  @Sendable
  package static func writeToStandardError(_ text: String) {
    var text = text
    text.withUTF8 { bytes in
      var rest = UnsafeRawBufferPointer(bytes)
      while rest.count > 0 {
        let count = write(STDERR_FILENO, rest.baseAddress, rest.count)
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { return }
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      }
    }
  }
}
