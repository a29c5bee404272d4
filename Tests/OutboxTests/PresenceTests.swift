import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Members and the connections that show that they live", .database, .timeLimit(.minutes(15)))
struct PresenceTests {
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
