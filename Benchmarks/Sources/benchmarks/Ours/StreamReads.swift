import EventStore

/// One caller that reads whole streams, chosen at random.
final class StreamReads: Contestant {
  private let log: PostgreSQLEventLog
  private let streams: [StreamName]
  private let length: Int

  init(_ configuration: EventLogConfiguration, _ streams: [StreamName], length: Int) async throws {
    log = try await PostgreSQLEventLog.open(configuration)
    self.streams = streams
    self.length = length
  }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(1, for: duration) { [self] _, end in
      var tally = Tally()
      var now = Monotonic.now
      while now < end, let stream = streams.randomElement() {
        let sent = Monotonic.now
        let events = try await log.read(stream).collect()
        now = Monotonic.now
        guard events.count == length else { throw Problem("\(stream) has \(events.count) events, not \(length)") }
        tally.latencies.append(now - sent)
        tally.events += events.count
      }
      return tally
    }
  }

  func end() async { await log.close() }
}
