import PostgreSQL
import TestSupport
import Testing

@Suite("Scripts", .database, .timeLimit(.minutes(15)))
struct ScriptTests {
  @Test("several statements run; the last result comes back, as text")
  func several() async throws {
    try await withConnection { connection in
      let rows = try await connection.script(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2); SELECT sum(a) FROM t")
      #expect(rows.text(0, 0) == "3")
      // And back to the pipeline.
      #expect(try await connection.execute(Statement("SELECT a FROM t")).count == 2)
    }
  }

  @Test("what comes as text is decoded as nothing else")
  func text() async throws {
    try await withConnection { connection in
      for sql in ["SELECT false", "SELECT true"] {
        let rows = try await connection.script(sql)
        #expect(try await failure { try Bool.decode(rows, 0, 0) }.code == .unexpectedResult)
      }
      for sql in ["SELECT 12345678::int8", "SELECT 1"] {
        let rows = try await connection.script(sql)
        #expect(try await failure { try Int?.decode(rows, 0, 0) }.code == .unexpectedResult)
      }
      let rows = try await connection.script("SELECT 'a'::text")
      #expect(try String.decode(rows, 0, 0) == "a")
      // Nothing of it is carried out.
      #expect(
        try await failure { try await connection.script("CREATE TABLE a (); \0 CREATE TABLE b ()") }.code
          == .unexpectedResult)
      #expect(try await connection.one("SELECT to_regclass('a') IS NULL"))
    }
  }

  @Test("an error undoes the whole script")
  func error() async throws {
    try await withConnection { connection in
      let error = try await failure {
        try await connection.script("CREATE TABLE t (a int); SELECT 1 / 0; CREATE TABLE u (a int)")
      }
      #expect(error.sqlState == "22012")
      let tables: Int = try await connection.one(
        "SELECT count(*) FROM pg_class WHERE relname IN ('t', 'u') AND relkind = 'r'")
      #expect(tables == 0)
    }
  }

  @Test("a transaction spans scripts and statements")
  func transaction() async throws {
    try await withConnection { connection in
      try await connection.script("BEGIN; CREATE TABLE t (a int)")
      try await connection.execute(Statement("INSERT INTO t VALUES ($1)"), Parameters(Int32(1)))
      try await connection.script("COMMIT")
      #expect(try await TestDatabase.required.number("SELECT count(*) FROM t") == 1)
    }
  }

  @Test("no text is no error")
  func empty() async throws {
    try await withConnection { connection in
      let script = try await connection.script("")
      let statement = try await connection.execute(Statement(""))
      #expect(script.isEmpty && statement.isEmpty)
    }
  }

  @Test("a script waits for the statements before it")
  func afterPipeline() async throws {
    try await withConnection { connection in
      let pending = (0..<20).map { connection.send(Statement("SELECT $1, pg_sleep(0.005)"), Parameters($0)) }
      let last = try await connection.script("SELECT 'x'")
      #expect(last.text(0, 0) == "x")
      for (number, result) in pending.enumerated() {
        let rows = try await result.rows()
        #expect(rows.int64(0, 0) == Int64(number))
      }
    }
  }
}
