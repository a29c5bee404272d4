import EventStore
import Synchronization

/// Concurrent tasks of this process that append, each to its own stream.
final class Appends: Contestant {
  private let log: PostgreSQLEventLog
  private let streams: [StreamName]
  private let batch: Int
  private let expectsVersions: Bool
  /// Where each stream is.
  private let versions: Mutex<[Int]>

  /// - Parameters:
  ///   - batch: Events an append.
  ///   - expectsVersions: The exact ones, else any.
  ///   - prefix: Of the streams' names, where several of these share a store.
  init(
    _ configuration: EventLogConfiguration, callers: Int, batch: Int = 1, expectsVersions: Bool = true,
    prefix: String = "0"
  ) async throws {
    log = try await PostgreSQLEventLog.open(configuration)
    self.batch = batch
    self.expectsVersions = expectsVersions
    streams = try (0..<callers).map { try StreamName(category: "account", id: "\(prefix)-\($0)") }
    versions = Mutex(Array(repeating: 0, count: callers))
  }

  func run(for duration: Duration) async throws -> Sample {
    try await run(from: Monotonic.now, for: duration)
  }

  func run(from start: UInt64, for duration: Duration) async throws -> Sample {
    try await sideBySide(streams.count, from: start, for: duration) { [self] caller, end in
      var version = versions.withLock { $0[caller] }
      var tally = Tally()
      var now = Monotonic.now
      while now < end {
        var events: [EventData] = []
        events.reserveCapacity(batch)
        for number in 0..<batch { events.append(SamplePayloads.event(version + number)) }
        let sent = Monotonic.now
        version = try await log.append(
          events, to: streams[caller], expecting: expectsVersions ? .exact(version) : .any
        ).version
        now = Monotonic.now
        tally.latencies.append(now - sent)
        tally.events += batch
      }
      versions.withLock { $0[caller] = version }
      return tally
    }
  }

  func end() async { await log.close() }
}
