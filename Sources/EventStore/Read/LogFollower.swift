internal import PostgreSQL

/// Reads the log from a position on, again and again to its end: what subscriptions and projections follow it by.
///
/// Used by one task at a time. After an error it is of no use, but for ``restart()``.
package final class LogFollower {
  package enum Step: Sendable {
    /// The next events, in order; not none.
    case events([RecordedEvent])
    /// Everything has been read that was decided a moment ago.
    case caughtUp
  }

  private let log: PostgreSQLEventLog
  private let pages: LogPages
  private var pause: Duration
  private let longestPause: Duration
  private var hint: UInt64 = 0
  /// Looks in a row at a log that has grown, but by nothing that the filter lets pass.
  package private(set) var fruitlessLooks = 0
  private var lastLook: ContinuousClock.Instant?

  /// From so many fruitless looks on …
  private static let patience = 4
  /// … there is more and more time between two of them, up to this: or a reader would look at every batch of a busy log that has
  /// nothing for it.
  private static let longestSpacing = Duration.milliseconds(20)

  /// - Parameter longestPause: How long it rests when nothing comes and no hint wakes it. Default: as configured.
  package init(
    _ log: PostgreSQLEventLog, after position: Position, _ filter: LogFilter, longestPause: Duration? = nil
  ) {
    self.log = log
    self.longestPause = longestPause ?? log.configuration.longestPoll
    pages = LogPages(log, after: position, filter)
    pause = log.configuration.shortestPoll
  }

  package func next() async throws(ReadError) -> Step {
    var hasGrown = false
    while true {
      if let page = try await pages.nextPage() {
        pause = log.configuration.shortestPoll
        fruitlessLooks = 0
        return .events(page)
      }
      if hasGrown {
        // Nothing for this reader. Perhaps there is more by now; it need not be seen at once.
        fruitlessLooks += 1
        return .caughtUp
      }
      lastLook = .now
      // Where that fails, the reader's own look says why.
      if fruitlessLooks >= Self.patience, pages.canPassOver, let looks = try? await log.tail.looks(),
        let positions = pages.passOver(looks)
      {
        let seen = looks.last?.hint ?? log.hints.count
        rest(hasGrown: positions > 0 || seen > hint)
        hint = seen
        try await settleNowAndThen()
        return .caughtUp
      }
      let seen = log.hints.count
      hasGrown = try await log.reading { () throws(PostgreSQLError) in try await pages.extend() }
      if !hasGrown {
        // Something was announced, but is not decided yet, as long as another append is open.
        rest(hasGrown: seen > hint)
        hint = seen
        try await settleNowAndThen()
        return .caughtUp
      }
      hint = seen
    }
  }

  private func rest(hasGrown: Bool) { fruitlessLooks = hasGrown ? fruitlessLooks + 1 : 0 }

  /// So that a reader for whom nothing comes need not read everything again after a connection was lost.
  private func settleNowAndThen() async throws(ReadError) {
    guard pages.unsettled > 10_000 else { return }
    _ = try await settled()
  }

  /// After `caughtUp`: waits until something may have been appended. Woken by a hint from this process's own appends or
  /// from the server; returns by itself when none comes: a hint may be lost, and a transaction that rolls back sends none.
  package func wait() async {
    log.listener?.listen()
    await log.hints.wait(after: hint, atMost: pause * Double.random(in: 0.75...1.25))
    // What follows an announcement within 20 ms is not announced again: it is looked for.
    pause = log.hints.count > hint ? min(.milliseconds(25), longestPause) : min(pause * 2, longestPause)
    guard fruitlessLooks > Self.patience, let lastLook else { return }
    let spacing = min(Self.longestSpacing, .milliseconds(1 << min(fruitlessLooks - Self.patience, 10)))
    guard lastLook.duration(to: .now) < spacing else { return }
    // At the same moments as others, so that one look does for all.
    let turns = Self.start.duration(to: .now) / spacing
    try? await Task.sleep(for: spacing * (1 - (turns - turns.rounded(.down))))
  }

  private static let start = ContinuousClock.now

  /// After a lost connection: goes on after the last event that was given out.
  package func restart() { pages.restart() }

  /// The position of the last event, of whatever kind, that is not after the end that was reached: everything up to there
  /// has been read, and may be kept as read.
  package func settled() async throws(ReadError) -> Position { try await log.reading(pages.settled) }
}
