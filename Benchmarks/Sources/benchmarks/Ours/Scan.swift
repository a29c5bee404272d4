import EventStore

/// The whole log, page by page: opened, and dropped or decoded.
final class Scan: Contestant {
  private let log: PostgreSQLEventLog
  private let codec: EventCodec?
  private let events: Int

  init(_ configuration: EventLogConfiguration, events: Int, codec: EventCodec? = nil) async throws {
    log = try await PostgreSQLEventLog.open(configuration)
    self.codec = codec
    self.events = events
  }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(1, for: duration) { [self] _, _ in
      var tally = Tally()
      for try await page in log.readAll().pages {
        for event in page {
          if let codec { _ = try codec.decode(event) } else { _ = try event.payload.get() }
        }
        tally.events += page.count
      }
      guard tally.events == events else { throw Problem("the scan gave \(tally.events) events, not \(events)") }
      return tally
    }
  }

  func end() async { await log.close() }
}
