internal import Logging
internal import PostgreSQL

/// The log from a position on, without end: catch-up first, then live.
final class Subscription: EventPageSource {
  private let log: PostgreSQLEventLog
  private let follower: LogFollower

  init(_ log: PostgreSQLEventLog, after position: Position, _ filter: LogFilter) {
    self.log = log
    follower = LogFollower(log, after: position, filter)
  }

  func nextPage() async throws(ReadError) -> [RecordedEvent]? {
    var failures = 0
    while true {
      do throws(ReadError) {
        if case .events(let page) = try await follower.next() { return page }
        await follower.wait()
        failures = 0
      } catch {
        // A subscription outlives a restart of the server; a wrong query, a cancellation or the log's end ends it.
        guard case .unavailable(let reason) = error, reason.code != .closed,
          failures < log.configuration.subscriptionRetries
        else { throw error }
        failures += 1
        if failures == 1 {
          log.configuration.logger.warning(
            "A subscription lost the database, and goes on when that is back", metadata: ["error": "\(error)"])
        }
        follower.restart()
        await log.hints.wait(after: log.hints.count, atMost: .milliseconds(min(50 << min(failures, 6), 2000)))
      }
      if Task.isCancelled { throw .cancelled }
    }
  }
}
