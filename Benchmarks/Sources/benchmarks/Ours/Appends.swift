import EventStore
import Synchronization

/// Concurrent tasks of this process that append, each to streams of its own, one after the other.
final class Appends: Contestant {
  private let log: PostgreSQLEventLog
  private let prefix: String
  private let eventsPerStream: Int
  private let batch: Int
  private let expectsVersions: Bool
  /// How many events each caller has appended.
  private let progress: Mutex<[Int]>

  /// - Parameters:
  ///   - batch: Events an append.
  ///   - expectsVersions: The exact ones, else any.
  ///   - eventsPerStream: After so many a caller goes on with a new stream.
  ///   - prefix: Of the streams' names, where several of these share a store.
  init(
    _ configuration: EventLogConfiguration, callers: Int, batch: Int = 1, expectsVersions: Bool = true,
    eventsPerStream: Int = .max, prefix: String = "0"
  ) async throws {
    log = try await PostgreSQLEventLog.open(configuration)
    self.batch = batch
    self.expectsVersions = expectsVersions
    self.eventsPerStream = eventsPerStream
    self.prefix = prefix
    progress = Mutex(Array(repeating: 0, count: callers))
  }

  func run(for duration: Duration) async throws -> Sample {
    try await run(from: Monotonic.now, for: duration)
  }

  func run(from start: UInt64, for duration: Duration) async throws -> Sample {
    let callers = progress.withLock { $0.count }
    return try await sideBySide(callers, from: start, for: duration) { [self] caller, end in
      var done = progress.withLock { $0[caller] }
      var version = done % eventsPerStream
      var stream = try stream(of: caller, after: done)
      var tally = Tally()
      var now = Monotonic.now
      while now < end {
        if version == eventsPerStream {
          version = 0
          stream = try self.stream(of: caller, after: done)
        }
        var events: [EventData] = []
        events.reserveCapacity(batch)
        for number in 0..<batch { events.append(SamplePayloads.event(done + number)) }
        let sent = Monotonic.now
        version = try await log.append(
          events, to: stream, expecting: expectsVersions ? .exact(version) : .any
        ).version
        now = Monotonic.now
        tally.latencies.append(now - sent)
        tally.events += batch
        done += batch
      }
      progress.withLock { [done] in $0[caller] = done }
      return tally
    }
  }

  /// What a caller appends to, who has appended so many events.
  private func stream(of caller: Int, after events: Int) throws -> StreamName {
    try StreamName(category: "account", id: "\(prefix)-\(caller)-\(events / eventsPerStream)")
  }

  func end() async { await log.close() }
}
