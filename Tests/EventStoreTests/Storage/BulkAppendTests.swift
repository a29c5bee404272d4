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
}
