import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("What consumers write down, and what keeps them from it", .database, .timeLimit(.minutes(15)))
struct BooksTests {
  @Test("a write whose connection is cut is not sent again as it was: the cursor begins anew, at an epoch of its own")
  func unknown() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all"))
      let epoch = "SELECT max(epoch) FROM eventstore.outbox_positions"
      let handled = Atomic<Int>(0)
      let consumer = GroupConsumer(log, "all") { _ in
        handled.add(1, ordering: .relaxed)
        return .ack
      }
      try await withConsumers([consumer]) {
        try await append(log, "a-1", "made")
        try await eventually("the first is written down") { try await groups.status(of: "all").handled == 1 }
        let before = try await database.number(epoch)
        try await database.withConnection { connection in
          try await connection.script("BEGIN")
          try await connection.script("SELECT FROM eventstore.outbox_positions FOR UPDATE")
          try await append(log, "a-1", "made")
          let waiting = """
            SELECT coalesce(max(pid), 0)::bigint FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%outbox%'
            """
          try await eventually("a write waits") { try await database.number(waiting) > 0 }
          try await database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
          )
          try await connection.script("COMMIT")
        }
        try await eventually("the second, too") { try await groups.status(of: "all").handled == 2 }
        #expect(try await database.number(epoch) > before)
      }
    }
  }
}
