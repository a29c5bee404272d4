import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Members and the connections that show that they live", .database, .timeLimit(.minutes(15)))
struct PresenceTests {
  private let holders = """
    SELECT count(*) FROM pg_locks
     WHERE locktype = 'advisory' AND objsubid = 2 AND classid = 'eventstore.outbox_members'::regclass
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """

  @Test("one whose connection is cut starts nothing until the others know that it lives")
  func cut() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all"))
      let seen = Seen()
      let consumer = GroupConsumer(log, "all") { delivery in
        seen.add(delivery)
        return .ack
      }
      try await withConsumers([consumer]) {
        try await append(log, "a-1", "made")
        try await eventually("it is at work") { seen.all.count == 1 }
        try await eventually("others see it") { try await database.number(holders) == 1 }
        try await database.withConnection { connection in
          // Its heartbeats cannot say that it lives.
          try await connection.script("BEGIN")
          try await connection.script("SELECT FROM eventstore.outbox_members FOR UPDATE")
          try await database.sql(
            """
            SELECT pg_terminate_backend(pid) FROM pg_locks
             WHERE locktype = 'advisory' AND objsubid = 2 AND classid = 'eventstore.outbox_members'::regclass
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """)
          try await eventually("it has gone") {
            try await database.number(
              "SELECT count(*) FROM eventstore.outbox_members m WHERE eventstore.is_present('eventstore.outbox_members', m.presence)"
            ) == 0
          }
          try await Task.sleep(for: .milliseconds(100))
          try await append(log, "b-1", "made")
          try await Task.sleep(for: .milliseconds(700))
          #expect(seen.all.count == 1)
          try await connection.script("COMMIT")
        }
        try await eventually("it goes on") { seen.all.count == 2 }
      }
    }
  }

  @Test("one whose lock has gone while its connection stayed, as behind a proxy, lives by time")
  func proxied() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all"))
      let number = try await database.number("SELECT group_id::bigint FROM eventstore.outbox_groups")
      try await database.sql(
        "INSERT INTO eventstore.outbox_members (group_id, member, process, presence, expires_at) VALUES (\(number), gen_random_uuid(), 'p', 4711, clock_timestamp() + interval '60 s')"
      )
      #expect(try await groups.members(of: "all").map(\.lives) == [false])
      // It says again that it holds what nobody holds.
      try await database.sql(
        "SELECT eventstore.outbox_heartbeat(member, 60000, 4711, '{}') FROM eventstore.outbox_members")
      #expect(try await groups.members(of: "all").map(\.lives) == [true])
      #expect(try await database.number("SELECT count(presence) FROM eventstore.outbox_members") == 0)
      // One that is there is seen by it.
      try await database.withConnection { connection in
        try await connection.script(
          "SELECT pg_advisory_lock('eventstore.outbox_members'::regclass::oid::integer, 4711)")
        try await database.sql(
          "SELECT eventstore.outbox_heartbeat(member, 60000, 4711, '{}') FROM eventstore.outbox_members")
        #expect(try await database.number("SELECT count(presence) FROM eventstore.outbox_members") == 1)
      }
      try await eventually("it has gone") { try await groups.members(of: "all").map(\.lives) == [false] }
    }
  }
}
