import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@testable import EventStore

@Suite("Migrations", .database, .timeLimit(.minutes(15)))
struct MigrationTests {
  /// Of every released migration. A new file is added here; a line is never changed.
  static let digests = [
    "0000_migrations 6e5546ad9a0f2aaa6106842c4ac31d8831349a3b975dcefd6b26b4e779fc9009",
    "0001_log 38bef0e176c14b1babc82416737fb0d7c42246a0c25f6199a6a0c89030748bc7",
    "0002_keys a770909e559a0cb0755e404870acbd64199e81db98ef8d9241cb7b4d5d79af71",
    "0003_immutable 494c1ae387245abb3e96d5ddd9aa3f50acc9d62f9981401f1c6d4230055156ab",
    "0004_snapshots ec5fab9fb106e048c8b63f0f4a27504c20e8aa62792412205d3ac69041f80934",
    "0005_recorded_event 8ee3e38eb5db0bf0e279f7e9288936b1cf5d162a6128cc9ebf61b11f2a2268c0",
    "0006_projections 9fe6b8db12a1c876a7d1e0ab733aa0337f6d048a43f37e54cc206ab3782de204",
    "0007_outbox 76d70a5dcf7cdde1ed4470026887f59feab09a1246e9850e53bea37c592a8c34",
    "0008_schedules dfe9bc1482a98abed4778327c87b88f7737be98f20bbb1ab02440ea4841f4660",
    "0009_append_placed a5dfe562f492b04eee406610b9a688d8f878899c42850d5fa73af1bc737719b6",
    "0010_append_new_streams 9f0269c7106193d4a628d1110b17f6ba4605dae7809bfefb874ad1d0a934e3fd",
    "0011_keep_keys b4c66331d5f05c2e49feee827ea5db8e215f0b3f43472fec6079393ef506d38e",
  ]

  @Test("a released migration is never edited")
  func frozen() async throws {
    let database = try TestDatabase.required
    let found = try await database.column(
      "SELECT name || ' ' || digest FROM eventstore.migrations ORDER BY number", as: String.self)
    #expect(found == Self.digests)
  }

  @Test("twice is once")
  func twice() async throws {
    let migrator = Migrator(
      ConnectionConfiguration(try TestDatabase.required.connectionString), schema: "again")
    #expect(try await migrator.migrate() == Migrator.known)
    #expect(try await migrator.migrate() == [])
  }

  @Test("from several processes at once is once")
  func atOnce() async throws {
    let database = try TestDatabase.required
    let applied = try await withThrowingTaskGroup { group in
      for _ in 0..<5 {
        group.addTask {
          try await Migrator(ConnectionConfiguration(database.connectionString), schema: "together").migrate()
            .count
        }
      }
      return try await group.reduce(into: [Int]()) { $0.append($1) }
    }
    #expect(applied.sorted() == [0, 0, 0, 0, Migrator.known.count])
  }

  @Test("a store of a newer binary is left alone")
  func newer() async throws {
    let database = try TestDatabase.required
    try await database.sql(
      "INSERT INTO eventstore.migrations (number, name, digest) VALUES (9999, '9999_later', 'x')")
    let error = await #expect(throws: MigrationError.self) {
      try await Migrator(ConnectionConfiguration(database.connectionString)).migrate()
    }
    guard case .newer(found: 9999, known: Migrator.known.last?.number)? = error else {
      Issue.record("expected it to be too new, found \(String(describing: error))")
      return
    }
    let refusal = await #expect(throws: OpenError.self) {
      try await PostgreSQLEventLog.open(database.configuration)
    }
    guard case .notMigrated("eventstore", .newer(at: 9999))? = refusal else {
      Issue.record("expected it to be refused, found \(String(describing: refusal))")
      return
    }
  }

  @Test("functions of a newer binary are left alone")
  func newerFunctions() async throws {
    let database = try TestDatabase.required
    let migrator = Migrator(ConnectionConfiguration(database.connectionString))
    try await database.sql(
      """
      COMMENT ON SCHEMA eventstore IS 'eventstore, migration 11, version 9999, contents x';
      CREATE OR REPLACE FUNCTION eventstore.horizon() RETURNS bigint LANGUAGE sql AS 'SELECT 42::bigint';
      """)
    for migrate in [migrator.migrateIfNeeded, migrator.upgradeIfNeeded, { try await migrator.migrate() }] {
      let error = await #expect(throws: MigrationError.self) { try await migrate() }
      guard case .newerFunctions(found: 9999, known: Migrator.contentsVersion)? = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
    }
    #expect(try await database.number("SELECT eventstore.horizon()") == 42)
    // An older one's are replaced.
    try await database.sql("COMMENT ON SCHEMA eventstore IS 'eventstore, migration 11, contents x'")
    try await migrator.migrateIfNeeded()
    #expect(try await database.number("SELECT eventstore.horizon()") == 0)
  }

  @Test("functions and privileges do not change without a new version of them")
  func contentsVersion() {
    #expect(Migrator.contentsVersion == 5)
    #expect(Migrator.digestOfContents == "6d2d2ede82910ce4940e21208c1bb98aa0515a7313fe9b0207d0f89bca1928ee")
  }

  @Test("a migration that was applied with another text is found out")
  func changed() async throws {
    let database = try TestDatabase.required
    try await database.sql("UPDATE eventstore.migrations SET digest = 'x' WHERE number = 1")
    let error = await #expect(throws: MigrationError.self) {
      try await Migrator(ConnectionConfiguration(database.connectionString)).migrate()
    }
    guard case .changed(name: "0001_log")? = error else {
      Issue.record("expected a changed migration, found \(String(describing: error))")
      return
    }
  }

  @Test("a schema without a store, and one that is behind, are not opened")
  func notMigrated() async throws {
    let database = try TestDatabase.required
    var configuration = database.configuration
    configuration.schema = "nothing"
    let absent = await #expect(throws: OpenError.self) { try await PostgreSQLEventLog.open(configuration) }
    guard case .notMigrated("nothing", .absent)? = absent else {
      Issue.record("expected no store, found \(String(describing: absent))")
      return
    }
    try await Migrator(ConnectionConfiguration(database.connectionString), schema: "nothing").migrate(upTo: 1)
    let behind = await #expect(throws: OpenError.self) { try await PostgreSQLEventLog.open(configuration) }
    guard case .notMigrated("nothing", .behind(at: 1, missing: Migrator.known.count - 2))? = behind else {
      Issue.record("expected a store that is behind, found \(String(describing: behind))")
      return
    }
  }

  @Test(
    "what was written before an upgrade is there after it",
    arguments: Migrator.known.map(\.number).filter { $0 >= 1 })
  func upgrade(from number: Int) async throws {
    let database = try TestDatabase.required
    let migrator = Migrator(ConnectionConfiguration(database.connectionString), schema: "old")
    try await migrator.migrate(upTo: number)
    let data = Envelope.plaintext(.json("{\"amount\":5}"))
    let insert = Statement(
      """
      WITH category AS (INSERT INTO old.categories (name) VALUES ('account') RETURNING category_id),
           stream AS (INSERT INTO old.streams (stream_id, name)
                      SELECT (category_id::bigint << 48) | (nextval('old.stream_numbers') << 8) | 7, 'account-1'
                        FROM category RETURNING stream_id)
      INSERT INTO old.events (stream_id, version, event_id, schema_version, shard, unplaced, type, metadata, data)
      SELECT stream_id, n, gen_random_uuid(), 1, 7, false, 'account.deposited', '{"correlationId":"c"}', $1
        FROM stream, generate_series(1, 3) AS n
      """)
    try await database.withConnection { try await $0.execute(insert, Parameters(Bytea(data))) }
    let applied = try await migrator.migrate()
    #expect(applied.map(\.number) == Migrator.known.map(\.number).filter { $0 > number })

    var configuration = database.configuration
    configuration.schema = "old"
    configuration.encryption = .off
    try await PostgreSQLEventLog.withLog(configuration) { log in
      let events = try await log.readAll(after: .start, where: .category("account")).collect()
      #expect(events.map(\.text) == Array(repeating: "{\"amount\":5}", count: 3))
      #expect(events.map(\.version) == [1, 2, 3] && events.first?.metadata.correlationID == "c")
      let appended = try await log.append([.sample()], to: "account-1", expecting: .exact(3))
      #expect(appended.version == 4 && appended.positions[0] > (events.last?.position ?? .start))
    }
  }
}
