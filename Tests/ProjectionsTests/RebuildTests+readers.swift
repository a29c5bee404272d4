import EventStore
import FoundationEssentials
import PostgreSQL
import Projections
import Replay
import TestSupport
import Testing

/// What readers see of it, and what a comparison does.
extension RebuildTests {
  @Test("a reader's open transaction is not cut off; the switch waits for it, and says so when it waits too long")
  func waitsForReaders() async throws {
    let database = try TestDatabase.required
    try await withLive { _, catalog, books in
      _ = try await catalog.rebuild("balance", with: try Model.model(Model.second), options: quick())
      try await database.withConnection { reader in
        try await reader.script("BEGIN")
        try await reader.script("SELECT count(*) FROM eventstore_views.balance")
        let error = await #expect(throws: ProjectionError.self) {
          try await catalog.switchOver("balance", within: .milliseconds(400))
        }
        #expect(error.map { if case .busy = $0 { true } else { false } } == true)
        // Other readers are not held up for long meanwhile.
        #expect(try await rows(database) == books.rows)
        try await reader.script("COMMIT")
      }
      try await catalog.switchOver("balance")
      try await catalog.rollback("balance")
      // A snapshot from before the build had caught up would show it half-built.
      try await database.withConnection { reader in
        try await reader.script("BEGIN ISOLATION LEVEL REPEATABLE READ")
        try await reader.script("SELECT 1")
        try await catalog.abandon("balance")
        _ = try await catalog.rebuild("balance", with: try Model.model(Model.second), options: quick())
        let error = await #expect(throws: ProjectionError.self) {
          try await catalog.switchOver("balance", within: .milliseconds(400))
        }
        #expect(error.map { if case .busy = $0 { true } else { false } } == true)
      }
      try await catalog.switchOver("balance")
    }
  }

  @Test("what others may do with a view stays as an administrator has left it, whatever becomes of the columns")
  func privileges() async throws {
    let database = try TestDatabase.required
    let role = "reader_\(UUID().uuidString.prefix(8).lowercased())"
    try await withLive { _, catalog, _ in
      func may(_ question: String, of role: String) async throws -> Bool {
        try await database.column("SELECT has_\(question.replacing("ROLE", with: "'\(role)'"))", as: Bool.self)[0]
      }
      let view = "'eventstore_views.balance'"
      #expect(try await may("table_privilege(ROLE, \(view), 'SELECT')", of: "eventstore_reader"))
      try await database.sql(
        """
        CREATE ROLE \(role);
        GRANT SELECT ON eventstore_views.balance TO \(role) WITH GRANT OPTION;
        GRANT UPDATE (cents) ON eventstore_views.balance TO \(role);
        GRANT DELETE ON eventstore_views.balance TO PUBLIC;
        REVOKE SELECT ON eventstore_views.balance FROM eventstore_reader;
        ALTER VIEW eventstore_views.balance SET (security_barrier = true)
        """)
      func isAsLeft() async throws {
        #expect(try await may("table_privilege(ROLE, \(view), 'SELECT WITH GRANT OPTION')", of: role))
        #expect(try await may("column_privilege(ROLE, \(view), 'cents', 'UPDATE')", of: role))
        #expect(try await !may("table_privilege(ROLE, \(view), 'UPDATE')", of: role))
        #expect(try await !may("table_privilege(ROLE, \(view), 'DELETE WITH GRANT OPTION')", of: role))
        #expect(try await may("table_privilege(ROLE, \(view), 'DELETE')", of: role))
        #expect(try await !may("table_privilege(ROLE, \(view), 'SELECT')", of: "eventstore_reader"))
        #expect(try await may("table_privilege(ROLE, \(view), 'SELECT')", of: "eventstore_writer"))
        #expect(
          try await database.column(
            "SELECT reloptions::text FROM pg_class WHERE oid = \(view)::regclass", as: String?.self)
            == ["{security_barrier=true}"])
      }
      try await isAsLeft()
      _ = try await catalog.rebuild("balance", with: try Model.model(Model.second), options: quick())
      // In place.
      try await catalog.switchOver("balance")
      try await isAsLeft()
      // Made anew: a column goes.
      try await catalog.rollback("balance")
      try await isAsLeft()
      try await database.sql("DROP OWNED BY \(role); DROP ROLE \(role)")
    }
  }

  @Test("a comparison finds what is wrong, by key, with samples")
  func compares() async throws {
    let database = try TestDatabase.required
    try await withLive { log, catalog, books in
      let wrong = try await catalog.rebuild("balance", options: quick())
      #expect(try await catalog.compare("balance").isSame)
      let schema = wrong.tableSchema(of: "eventstore")
      try await database.sql(
        """
        UPDATE \(schema).balance SET cents = cents + 1 WHERE account = 'account-3';
        DELETE FROM \(schema).balance WHERE account = 'account-4';
        INSERT INTO \(schema).balance VALUES ('account-x', 1, 1)
        """)
      let comparison = try await catalog.compare("balance", samples: 5)
      let table = try #require(comparison.tables.first)
      #expect(!comparison.isSame && table.isByKey)
      #expect(table.rowsOnlyInLive == 1 && table.rowsOnlyInNew == 1 && table.rowsThatDiffer == 1)
      #expect(table.rowsInLive == 20 && table.rowsInNew == 20 && table.samples.count == 3)
      #expect(table.samples.contains { $0.live?.contains("account-4\"") == true && $0.new == nil })
      #expect(table.samples.contains { $0.new?.contains("account-x") == true && $0.live == nil })
      #expect(
        table.samples.contains { $0.live?.contains("account-3\"") == true && $0.new?.contains("account-3\"") == true })
    }
  }

  @Test("tables without a key, of other types, only in one")
  func comparesStructure() async throws {
    func text(_ version: Int, _ tables: String, _ insert: String) -> String {
      """
      -- read model: lists
      -- version: \(version)
      -- categories: account
      \(tables)
      -- on: deposited
      \(insert)
      """
    }
    let first = text(
      1, "CREATE TABLE list (stream text, cents bigint, extra json); CREATE TABLE gone (n bigint);",
      "INSERT INTO list SELECT stream, (data->>'cents')::bigint, '{\"a\":1}' FROM events;")
    let second = text(
      2, "CREATE TABLE list (stream text, cents numeric, extra json); CREATE TABLE made (n bigint);",
      "INSERT INTO list SELECT stream, (data->>'cents')::bigint, '{\"a\":1}' FROM events;")
    try await withLive(first) { log, catalog, books in
      let built = try await catalog.rebuild(
        "lists", with: try ReadModel(second, file: "lists.sql"), options: quick())
      let comparison = try await catalog.compare("lists")
      #expect(comparison.tablesOnlyInLive == ["gone"] && comparison.tablesOnlyInNew == ["made"])
      let table = try #require(comparison.tables.first)
      #expect(!table.isByKey && table.hasSameRows && table.rowsInNew == books.total)
      #expect(table.columnsOfOtherType == ["cents: bigint → numeric"])
      try await TestDatabase.required.sql(
        "DELETE FROM \(built.tableSchema(of: "eventstore")).list WHERE ctid = (SELECT min(ctid) FROM \(built.tableSchema(of: "eventstore")).list)"
      )
      #expect(try await catalog.compare("lists").tables.first?.rowsOnlyInLive == 1)
    }
  }

  @Test("keys of other types, collations, arrays of what has no equality, values that are equal and not the same")
  func comparesKinds() async throws {
    func text(_ version: Int, key: String, note: String) -> String {
      """
      -- read model: kinds
      -- version: \(version)
      -- categories: account
      CREATE TABLE kinds (
        id \(key) PRIMARY KEY, note \(note), span interval, doc jsonb, docs json[], points point[], plain xml, n numeric);
      -- on: deposited
      INSERT INTO kinds
      SELECT position, 'a', '30 days', '{"a":1}', ARRAY['{"b":1}'::json], ARRAY['(1,2)'::point], '<a/>', 1.0 FROM events;
      """
    }
    try await withLive(text(1, key: "bigint", note: "text"), events: 10) { log, catalog, books in
      let database = try TestDatabase.required
      let same = try await catalog.rebuild("kinds", options: quick())
      #expect(try await catalog.compare("kinds").isSame)
      let schema = same.tableSchema(of: "eventstore")
      func change(_ set: String) async throws -> Int {
        try await database.sql("UPDATE \(schema).kinds SET \(set) WHERE id = (SELECT min(id) FROM \(schema).kinds)")
        return try #require(try await catalog.compare("kinds").tables.first).rowsThatDiffer
      }
      #expect(try await change("n = 1.00") == 0)
      #expect(try await change("span = '1 mon'") == 1)
      #expect(try await change("span = '30 days', doc = '{\"a\":1.0}'") == 1)
      #expect(try await change("doc = '{\"a\":1}', docs = ARRAY['{\"b\":2}'::json]") == 1)
      #expect(try await change("docs = ARRAY['{\"b\":1}'::json], points = ARRAY['(1,3)'::point]") == 1)
      #expect(try await change("points = ARRAY['(1,2)'::point]") == 0)
      try await catalog.abandon("kinds")
      _ = try await catalog.rebuild(
        "kinds", with: try Model.model(text(2, key: "text", note: "text COLLATE \"C\"")), options: quick())
      let table = try #require(try await catalog.compare("kinds").tables.first)
      #expect(table.columnsOfOtherType == ["id: bigint → text", "note: text → text COLLATE \"C\""])
      #expect(table.isByKey && table.hasSameRows && table.rowsInNew == books.total)
    }
  }
}
