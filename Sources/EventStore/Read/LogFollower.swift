internal import PostgreSQL

/// Reads the log from a position on, again and again to its end: what subscriptions and projections follow it by.
///
/// Used by one task at a time. After an error it is of no use, but for ``restart()``.
package final class LogFollower {
  package enum Step: Sendable {
    /// The next events, in order; not none.
    case events([RecordedEvent])
    /// Everything that is decided has been read.
    case caughtUp
  }

  private let log: PostgreSQLEventLog
  private let pages: LogPages
  private var pause: Duration
  private let longestPause: Duration
  private var hint: UInt64 = 0

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
    while true {
      if let page = try await pages.nextPage() {
        pause = log.configuration.shortestPoll
        return .events(page)
      }
      hint = log.hints.count
      guard try await log.reading({ () throws(PostgreSQLError) in try await pages.extend() }) else { return .caughtUp }
    }
  }

  /// After `caughtUp`: waits until something may have been appended. Woken by a hint from this process's own appends or
  /// from the server; returns by itself when none comes: a hint may be lost, and a transaction that rolls back sends none.
  package func wait() async {
    await log.listen()
    await log.hints.wait(after: hint, atMost: pause * Double.random(in: 0.75...1.25))
    pause = min(pause * 2, longestPause)
  }

  /// After a lost connection: goes on after the last event that was given out.
  package func restart() { pages.restart() }

  /// The position of the last event, of whatever kind, that is not after the end that was reached: everything up to there
  /// has been read, and may be kept as read.
  package func settled() async throws(ReadError) -> Position { try await log.reading(pages.settled) }
}
