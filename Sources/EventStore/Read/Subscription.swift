internal import Logging
internal import PostgreSQL

/// The log from a position on, without end: catch-up first, then live.
///
/// Live, it is woken by a hint from this process's own appends or from the server, and looks by itself when none
/// comes: a hint may be lost, and a transaction that rolls back sends none.
final class Subscription: EventPageSource {
  private let log: PostgreSQLEventLog
  private let pages: LogPages
  private var pause: Duration

  init(_ log: PostgreSQLEventLog, after position: Position, _ filter: LogFilter) {
    self.log = log
    pages = LogPages(log, after: position, filter)
    pause = log.configuration.shortestPoll
  }

  func nextPage() async throws(ReadError) -> [RecordedEvent]? {
    var failures = 0
    while true {
      do throws(ReadError) {
        let hint = log.hints.count
        if let page = try await pages.nextPage() {
          pause = log.configuration.shortestPoll
          return page
        }
        if try await log.reading({ () throws(PostgreSQLError) in try await pages.extend() }) { continue }
        // Everything that is decided has been read.
        await log.listen()
        await log.hints.wait(after: hint, atMost: jittered(pause))
        pause = min(pause * 2, log.configuration.longestPoll)
        failures = 0
      } catch {
        // A subscription outlives a restart of the server; a wrong query or a cancellation ends it.
        guard case .unavailable = error, failures < log.configuration.subscriptionRetries else { throw error }
        failures += 1
        log.configuration.logger.warning("A subscription lost the database", metadata: ["error": "\(error)"])
        pages.restart()
        await log.hints.wait(after: log.hints.count, atMost: .milliseconds(min(50 << min(failures, 6), 2000)))
      }
      if Task.isCancelled { throw .cancelled }
    }
  }

  private func jittered(_ pause: Duration) -> Duration { pause * Double.random(in: 0.75...1.25) }
}
