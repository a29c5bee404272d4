import EventStore
import PostgreSQL
import TestSupport
import Testing

@Suite("What nobody may do to the log", .database, .timeLimit(.minutes(15)))
struct ImmutabilityTests {
  static let changes = [
    "UPDATE eventstore.events SET type = 'other'", "DELETE FROM eventstore.events",
    "TRUNCATE eventstore.events",
    "UPDATE eventstore.streams SET name = 'other-1'", "DELETE FROM eventstore.streams",
    "TRUNCATE eventstore.streams", "UPDATE eventstore.categories SET name = 'other'",
    "DELETE FROM eventstore.categories", "TRUNCATE eventstore.categories CASCADE",
    "DELETE FROM eventstore.data_keys", "TRUNCATE eventstore.data_keys", "DELETE FROM eventstore.master_keys",
    "TRUNCATE eventstore.master_keys CASCADE",
  ]

  @Test(
    "no change, by the owner, by a writer or by a reader",
    arguments: [nil, "eventstore_writer", "eventstore_reader"])
  func changes(role: String?) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample()], to: "account-1", expecting: .noStream)
    }
    for change in Self.changes {
      let error = await #expect(throws: PostgreSQLError.self, "\(change)") {
        try await database.sql(role.map { "SET ROLE \($0); \(change)" } ?? change)
      }
      #expect(error?.sqlState == "42501", "\(change): \(String(describing: error))")
    }
    try await database.withLog { log in
      let events = try await log.readAll().collect()
      #expect(events.map(\.type) == ["test.happened"])
    }
  }

  @Test("a writer appends and reads through the functions, and cannot insert past them")
  func writer() async throws {
    let database = try TestDatabase.required
    try await database.withLog({
      $0.connection.connectionString = ConnectionString.withRole(
        "eventstore_writer", in: database.connectionString)
    }) { log in
      try await log.append([.sample("{}")], to: "account-1", expecting: .noStream)
      try await log.append([.sample("{}")], to: "account-1", expecting: .exact(1))
      #expect(try await log.read("account-1").collect().map(\.text) == ["{}", "{}"])
      #expect(try await log.subscribe().first(2).count == 2)
    }
    let inserts = [
      "INSERT INTO eventstore.events (stream_id, version, event_id, schema_version, shard, unplaced, type, data) "
        + "VALUES (1, 1, gen_random_uuid(), 1, 1, false, 't', '')",
      "INSERT INTO eventstore.streams (stream_id, name) VALUES (1, 'a-1')",
      "INSERT INTO eventstore.data_keys (key_id, subject, master_key_id) VALUES (gen_random_uuid(), 's', 'm')",
      "INSERT INTO eventstore.migrations (number, name, digest) VALUES (9, 'x', 'y')",
      "UPDATE eventstore.data_keys SET subject = 'other'", "DELETE FROM eventstore.master_keys",
      "SELECT nextval('eventstore.events_position_seq')",
    ]
    for insert in inserts {
      let error = await #expect(throws: PostgreSQLError.self, "\(insert)") {
        try await database.sql("SET ROLE eventstore_writer; \(insert)")
      }
      #expect(error?.sqlState == "42501", "\(insert)")
    }
  }

  @Test("a writer's own types and functions are not taken for the system's, where functions act for the store's owner")
  func temporaryNames() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample()], to: "account-1", expecting: .noStream)
    }
    let names = ["oid", "regclass", "int8", "int2", "bool", "text", "bytea", "uuid", "timestamptz"]
    let trap = names.map { "CREATE DOMAIN pg_temp.\($0) AS pg_catalog.\($0) CHECK (pg_temp.trap());" }
    let calls = [
      "append_event(s.stream_id, 2, false, gen_random_uuid(), 't', 1, NULL, NULL, '')",
      "append_placed(ARRAY[s.stream_id], ARRAY[3::pg_catalog.int8, 1], NULL, ARRAY[gen_random_uuid(), gen_random_uuid()], "
        + "ARRAY['t', 't'], ARRAY[1, 1], NULL, NULL, ARRAY[''::pg_catalog.bytea, '']::pg_catalog.bytea[], "
        + "ARRAY['account-2'], ARRAY[1], ARRAY[gen_random_uuid()], ARRAY['account-2'], "
        + "ARRAY[m.master_key_id]::pg_catalog.text[], ARRAY[''::pg_catalog.bytea])",
    ]
    try await database.sql(
      """
      CREATE SCHEMA trap;
      CREATE FUNCTION trap.equals(text, text) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'called as %', current_user; END $$;
      CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.equals);
      CREATE FUNCTION trap.current_setting(text, boolean) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'called as %', current_user; END $$;
      CREATE TRIGGER events_inline BEFORE INSERT ON eventstore.events
        FOR EACH STATEMENT EXECUTE FUNCTION eventstore.require_inline();
      GRANT USAGE ON SCHEMA trap TO PUBLIC;
      """)
    for call in calls {
      try await database.sql(
        """
        SET ROLE eventstore_writer;
        SET search_path TO trap, pg_catalog;
        SET eventstore.inline TO applied;
        CREATE FUNCTION pg_temp.trap() RETURNS boolean LANGUAGE plpgsql AS
          $$ BEGIN RAISE EXCEPTION 'called as %', current_user; END $$;
        \(trap.joined(separator: "\n"))
        SELECT eventstore.\(call) FROM eventstore.streams AS s, eventstore.master_keys AS m;
        """)
    }
    try await database.withLog { log in
      let version = try await log.version(of: "account-1")
      #expect(version == 3)
    }
  }

  @Test("a reader reads and cannot append")
  func reader() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample()], to: "account-1", expecting: .noStream)
    }
    try await database.withLog({
      $0.connection.connectionString = ConnectionString.withRole(
        "eventstore_reader", in: database.connectionString)
    }) { log in
      let events = try await log.readAll().collect()
      #expect(events.count == 1)
      let error = await appendError { () throws(AppendError) in
        try await log.append([.sample()], to: "account-1", expecting: .any)
      }
      guard case .database(let reason)? = error else {
        Issue.record("expected the server to refuse, found \(String(describing: error))")
        return
      }
      #expect(reason.sqlState == "42501")
    }
  }
}
