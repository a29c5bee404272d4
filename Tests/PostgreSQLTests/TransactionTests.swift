import PostgreSQL
import TestSupport
import Testing

@Suite("Transactions", .database, .timeLimit(.minutes(15)))
struct TransactionTests {
  private struct Changed: Error {}
  private static let insert = Statement("INSERT INTO entries VALUES ($1)")
  private static let sleep = Statement("SELECT pg_sleep(30)")

  private func withEntries(maximum: Int = 4, _ body: (ConnectionPool) async throws -> Void) async throws {
    try await TestDatabase.required.sql("CREATE TABLE entries (number int8 PRIMARY KEY)")
    try await withPool(maximum: maximum, { _ in }, body)
  }

  private func entries() async throws -> [Int] {
    try await TestDatabase.required.column("SELECT number FROM entries ORDER BY 1")
  }

  @Test("a body that returns commits")
  func commit() async throws {
    try await withEntries { pool in
      let result = try await pool.withTransaction { transaction in
        try await transaction.execute(Self.insert, Parameters(1))
        try await transaction.execute(Self.insert, Parameters(2))
        return "done"
      }
      #expect(result == "done")
      #expect(try await entries() == [1, 2])
    }
  }

  @Test("a body that throws rolls back, and its error comes out")
  func rollBack() async throws {
    try await withEntries(maximum: 1) { pool in
      await #expect(throws: Changed.self) {
        try await pool.withTransaction { transaction in
          try await transaction.execute(Self.insert, Parameters(1))
          throw Changed()
        }
      }
      // On the same connection.
      try await pool.withTransaction { transaction in _ = try await transaction.execute(Self.insert, Parameters(2)) }
      #expect(try await entries() == [2])
    }
  }

  @Test("COMMIT after a failed statement is an error: nothing was kept")
  func commitOfFailed() async throws {
    try await withEntries(maximum: 1) { pool in
      let error = try await failure {
        try await pool.withTransaction { transaction in
          try await transaction.execute(Self.insert, Parameters(1))
          _ = try? await transaction.execute(Self.insert, Parameters(1))
        }
      }
      #expect(error.sqlState == "25P02")
      #expect(try await entries() == [])
      try await pool.execute(Self.insert, Parameters(3))
      #expect(try await entries() == [3])
    }
  }

  @Test("a serialization failure has its SQLSTATE, and a second try succeeds")
  func serialization() async throws {
    try await withEntries { pool in
      try await pool.execute(Self.insert, Parameters(0))
      let count = Statement("SELECT count(*) FROM entries")
      func attempt(disturbed: Bool) async throws {
        try await pool.withTransaction(isolation: .serializable) { transaction in
          try await transaction.execute(count)
          if disturbed {
            try await pool.withTransaction(isolation: .serializable) { other in
              try await other.execute(count)
              _ = try await other.execute(Self.insert, Parameters(1))
            }
          }
          _ = try await transaction.execute(Self.insert, Parameters(2))
        }
      }
      let error = try await failure { try await attempt(disturbed: true) }
      #expect(error.sqlState == "40001")
      try await attempt(disturbed: false)
      #expect(try await entries() == [0, 1, 2])
    }
  }

  @Test(
    "the isolation level is the one asked for",
    arguments: [
      (IsolationLevel.readCommitted, "read committed"), (.repeatableRead, "repeatable read"),
      (.serializable, "serializable"),
    ])
  func isolation(level: IsolationLevel, name: String) async throws {
    try await withPool { pool in
      let shown = try await pool.withTransaction(isolation: level) { transaction in
        try await transaction.execute(Statement("SHOW transaction_isolation")).text(0, 0)
      }
      #expect(shown == name)
    }
  }

  @Test("a cancelled body rolls back; the connection serves on")
  func cancelled() async throws {
    try await withEntries(maximum: 1) { pool in
      let backend = try await pool.withConnection { try await $0.backend }
      let task = Task {
        try await pool.withTransaction { transaction in
          try await transaction.execute(Self.insert, Parameters(1))
          _ = try await transaction.execute(Self.sleep)
        }
      }
      let database = try TestDatabase.required
      let locks = "SELECT count(*) FROM pg_locks WHERE pid = $1::int8 AND relation = 'entries'::regclass"
      try await eventually { try await database.number(locks, Parameters(backend)) > 0 }
      task.cancel()
      let error = try await failure { try await task.value }
      #expect(error.code == .cancelled)
      #expect(try await entries() == [])
      #expect(try await pool.withConnection { try await $0.backend } == backend)
    }
  }

  @Test("a connection that is lost before COMMIT gives connectionLost")
  func lost() async throws {
    try await withEntries { pool in
      let database = try TestDatabase.required
      let error = try await failure {
        try await pool.withTransaction { transaction in
          try await transaction.execute(Self.insert, Parameters(1))
          let backend = Int(try await transaction.execute(Statement("SELECT pg_backend_pid()")).int32(0, 0))
          try await database.terminate(backend)
        }
      }
      #expect(error.code == .connectionLost)
      #expect(error.isUnavailable)
      try await eventually { try await entries() == [] }
    }
  }
}
