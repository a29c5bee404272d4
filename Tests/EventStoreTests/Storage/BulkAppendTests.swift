import PostgreSQL
import TestSupport
import Testing

@testable import EventStore

@Suite("Imports into a log", .database, .timeLimit(.minutes(15)))
struct BulkAppendTests {
  @Test("of a batch whose answer was lost nobody says that it was not written; doing it again adds what is missing")
  func lostAnswer() async throws {
    let database = try TestDatabase.required
    let events = (0..<50).map { EventData.sample("\($0)") }
    func append(to bulk: BulkAppend) async throws {
      for event in events { try await bulk.append(event, to: "order-1") }
    }
    try await database.withLog { log in
      let bulk = BulkAppend(log)
      try await append(to: bulk)
      try await database.withConnection { connection in
        try await connection.script("BEGIN; LOCK TABLE eventstore.events IN SHARE MODE")
        let killing = Task {
          var ended = 0
          while ended == 0 {
            try await Task.sleep(for: .milliseconds(5))
            ended = try await database.number(
              """
              SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'
              """)
          }
        }
        do throws(AppendError) {
          _ = try await bulk.finish()
          Issue.record("it was cut off")
        } catch {
          if case .outcomeUnknown = error {} else { Issue.record("\(error)") }
        }
        try await killing.value
        try await connection.script("ROLLBACK")
      }
      let again = BulkAppend(log)
      try await append(to: again)
      try await again.finish()
      #expect(try await log.read("order-1").collect().map(\.text) == (0..<50).map(String.init))
    }
  }

  @Test("two that take the same streams in other orders both come to their ends")
  func crossed() async throws {
    let database = try TestDatabase.required
    let streams = try (0..<200).map { try StreamName(category: "order", id: "\($0)") }
    try await database.withLog { log in
      try await withThrowingTaskGroup { group in
        for order in [streams, streams.reversed()] {
          group.addTask {
            try await database.withLog { log in
              let bulk = BulkAppend(log)
              for _ in 0..<40 { for stream in order { try await bulk.append(.sample(), to: stream) } }
              #expect(try await bulk.finish().added == 8000)
            }
          }
        }
        try await group.waitForAll()
      }
      for stream in streams { #expect(try await log.version(of: stream) == 80) }
    }
  }

  @Test("of streams with more events than are looked at in one go none is added again, what is missing is")
  func long() async throws {
    let database = try TestDatabase.required
    let events = (0..<12_000).map { EventData.sample("\($0)") }
    try await database.withLog { log in
      for (count, expected) in [
        (10_500, BulkAppend.Progress(added: 21_000, skipped: 0)), (12_000, .init(added: 3000, skipped: 21_000)),
        (12_000, .init(added: 0, skipped: 24_000)),
      ] {
        let bulk = BulkAppend(log)
        for event in events.prefix(count) {
          for stream in ["order-1", "order-2"] as [StreamName] { try await bulk.append(event, to: stream) }
        }
        #expect(try await bulk.finish() == expected)
      }
      for stream in ["order-1", "order-2"] as [StreamName] {
        #expect(try await log.read(stream).collect().map(\.text) == (0..<12_000).map(String.init))
      }
    }
  }

  @Test("a stream keeps its key, however many were met since")
  func keys() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let bulk = BulkAppend(log)
      for round in 0..<2 {
        for number in 0..<15_000 {
          try await bulk.append(.sample("\(round)"), to: StreamName(category: "order", id: "\(number)"))
        }
      }
      #expect(try await bulk.finish().added == 30_000)
    }
    #expect(try await database.number("SELECT count(*) FROM eventstore.data_keys") == 15_000)
  }
}
