/// Finds how many handlers at a time are worth it, from how long they take.
///
/// So many at a time, each of which takes so long, do `limit / latency` events a second (Little's law). Now and then it tries half as
/// many more, and a third fewer: another slot is worth it if it brings at least 0.3 of what one of the others does. So it grows
/// while handlers only wait for something that has room for more, and stops near the point from which on they wait for each
/// other. What fails often is given less.
///
/// A hill climb over throughput as in the thread pool of .NET (Hellerstein, Morrison, Eilebrecht: "Applying control theory in the real
/// world", 2009), with one step each way instead of a wave. A value: no clock, no tasks.
struct ConcurrencySearch {
  private enum Phase { case resting, up, down }

  let range: ClosedRange<Int>
  /// How many may run now.
  private(set) var limit: Int
  /// The best that was found, and what it does, in events a nanosecond.
  private var settled: Int
  private var settledRate: Double?
  private var phase = Phase.resting
  /// Windows until the next try …
  private var rest = 0
  /// … and until the one after that, if that changes nothing.
  private var nextRest = 1
  private var triesDown = false
  private var isGrowing = true
  private var window = Window()

  private struct Window {
    var start: Int64?
    /// Handlers that began before the last change are not counted.
    var leftOut = 0
    var count = 0
    /// Of them, how many ended while no slot was free.
    var full = 0
    var failures = 0
    var nanoseconds = 0.0
  }

  private static let worth = 0.3
  private static let shortestWindow: Int64 = 100_000_000
  private static let longestRest = 16

  init(_ range: ClosedRange<Int>) {
    self.range = range
    limit = min(max(8, range.lowerBound), range.upperBound)
    settled = limit
  }

  /// A handler has ended.
  ///
  /// - Parameters:
  ///   - inFlight: How many were running, this one included.
  mutating func ended(after nanoseconds: Int64, failed: Bool, inFlight: Int, now: Int64) {
    if window.leftOut > 0 {
      window.leftOut -= 1
      return
    }
    let start = window.start ?? now
    window.start = start
    window.count += 1
    window.nanoseconds += Double(nanoseconds)
    if inFlight >= limit { window.full += 1 }
    if failed { window.failures += 1 }
    guard window.count >= max(40, 4 * limit), now - start >= Self.shortestWindow else { return }
    look(window)
    window.start = nil
    window.count = 0
    window.full = 0
    window.failures = 0
    window.nanoseconds = 0
  }

  private mutating func look(_ window: Window) {
    if window.failures * 5 > window.count {
      // Fewer, until it is better: perhaps they are what is wrong.
      settledRate = nil
      return settle(at: step(settled, by: 1 / 1.5), resting: 1)
    }
    guard window.full * 5 >= window.count * 4 else {
      // There was not enough to do to tell.
      return settle(at: settled, resting: 1)
    }
    let rate = Double(limit) * Double(window.count) / max(1, window.nanoseconds)
    switch phase {
    case .resting:
      if let settledRate, abs(rate / settledRate - 1) > 0.3 { (rest, nextRest) = (0, 1) }
      settledRate = rate
      rest -= 1
      if rest <= 0 { attempt() }
    case .up, .down:
      guard let before = settledRate else { return settle(at: settled, resting: 1) }
      let share = Double(limit) / Double(settled)
      if rate / before >= 1 + Self.worth * (share - 1) {
        (settledRate, nextRest) = (rate, 1)
        settle(at: limit, resting: 0)
        // The same way again, at once.
        attempt()
      } else {
        isGrowing = false
        triesDown = phase == .up
        // After both ways in vain it rests for longer.
        if phase == .down { nextRest = min(Self.longestRest, nextRest * 2) }
        settle(at: settled, resting: phase == .up ? 1 : nextRest)
      }
    }
  }

  private mutating func attempt() {
    let tried = step(settled, by: triesDown ? 1 / 1.5 : isGrowing ? 2 : 1.5)
    guard tried != settled else {
      // At its end: the other way, next time.
      isGrowing = false
      triesDown.toggle()
      return settle(at: settled, resting: nextRest)
    }
    phase = triesDown ? .down : .up
    change(to: tried)
  }

  private func step(_ count: Int, by factor: Double) -> Int {
    let next = factor > 1 ? max(count + 1, Int(Double(count) * factor)) : min(count - 1, Int(Double(count) * factor))
    return min(max(next, range.lowerBound), range.upperBound)
  }

  private mutating func settle(at count: Int, resting windows: Int) {
    settled = count
    phase = .resting
    rest = windows
    change(to: count)
  }

  private mutating func change(to count: Int) {
    if count != limit { window.leftOut = max(count, limit) }
    limit = count
  }
}
