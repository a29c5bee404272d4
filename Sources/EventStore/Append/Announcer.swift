internal import PostgreSQL
internal import Synchronization

/// Tells readers that something was appended: those of this process at once, those of others by a NOTIFY that follows
/// an append on its connection, at most one in `tick`.
final class Announcer: Sendable {
  private static let tick = Duration.milliseconds(20)
  private let queries: Queries
  private let hints: Hints
  private let lastNotify = Mutex<ContinuousClock.Instant?>(nil)

  init(_ queries: Queries, _ hints: Hints) {
    self.queries = queries
    self.hints = hints
  }

  func appended(on connection: Connection) {
    hints.hint()
    let now = ContinuousClock.now
    let isDue = lastNotify.withLock { last in
      if let last, last.duration(to: now) < Self.tick { return false }
      last = now
      return true
    }
    // Its result is not waited for: it is only a hint.
    if isDue { _ = connection.send(queries.notify, Parameters(queries.channel)) }
  }
}
