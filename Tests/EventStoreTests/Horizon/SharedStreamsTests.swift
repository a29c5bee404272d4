import EventStore
import Foundation
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Streams that many writers share")
struct SharedStreamsTests {
  private static let writers = 16
  private static let appendsOfEach =
    ((ProcessInfo.processInfo.environment["EVENTSTORE_TEST_APPENDS"].flatMap { Int($0) } ?? 8_000) + 2 * writers - 1)
    / (2 * writers)
  private static let appends = appendsOfEach * 2 * writers
  private static let streams = (0..<20).map { StreamName(trusted: "account-\($0)") }

  @Test(
    "two processes' worth of writers: no event skipped, no version gap, no duplicate, while a stranger's transaction is open",
    .timeLimit(.minutes(15)))
  func sharedStreams() async throws {
    try await IsolatedServer.with { server in
      // A transaction with an id of its own, in another database, for as long as it all takes.
      try await server.database.sql("CREATE DATABASE stranger")
      let stranger = try await Connection.connect(
        ConnectionConfiguration(server.database.connectionString + " dbname=stranger"))
      defer { stranger.close() }
      try await stranger.script("CREATE TABLE t (n int)")
      try await stranger.script("BEGIN; INSERT INTO t VALUES (1)")

      try await server.database.withLog { log in
        let following = Task { try await Self.follow(log) }
        try await withThrowingTaskGroup { group in
          for _ in 0..<2 {
            group.addTask {
              try await server.database.withLog { log in try await Self.write(log) }
            }
          }
          try await group.waitForAll()
        }
        let lag = try await following.value
        print("shared streams: \(Self.appends) appends, the subscriber's largest lag was \(lag)")
      }
      #expect(
        try await server.database.number("SELECT count(DISTINCT event_id) FROM eventstore.events") == Self.appends)
      try await stranger.script("ROLLBACK")
    }
  }

  private static func write(_ log: PostgreSQLEventLog) async throws {
    try await withThrowingTaskGroup { group in
      for writer in 0..<writers {
        group.addTask {
          var numbers = SeededNumbers(seed: UInt64(writer) + 1)
          var versions: [StreamName: Int] = [:]
          for _ in 0..<appendsOfEach {
            let stream = streams[Int.random(in: 0..<streams.count, using: &numbers)]
            let event = EventData.sample()
            while true {
              do {
                let appended = try await log.append([event], to: stream, expecting: .exact(versions[stream] ?? 0))
                versions[stream] = appended.version
                break
              } catch AppendError.conflict(let conflict) {
                versions[stream] = conflict.actual
              }
            }
          }
        }
      }
      try await group.waitForAll()
    }
  }

  /// Follows until everything has come; the largest time from an event's recording to its arrival.
  private static func follow(_ log: PostgreSQLEventLog) async throws -> Duration {
    var versions: [StreamName: Int] = [:]
    var last = Position.start
    var count = 0
    var lag = 0.0
    for try await event in log.subscribe() {
      #expect(event.position > last)
      #expect(event.version == (versions[event.stream] ?? 0) + 1, "\(event.stream)")
      last = event.position
      versions[event.stream] = event.version
      lag = max(lag, Date.now.timeIntervalSince(event.recordedAt))
      count += 1
      if count == appends { break }
    }
    return .seconds(lag)
  }
}
