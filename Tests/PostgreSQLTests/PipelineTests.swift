import PostgreSQL
import TestSupport
import Testing

@Suite("Pipeline", .database, .timeLimit(.minutes(15)))
struct PipelineTests {
  private static let echo = Statement("SELECT $1")

  @Test("1000 statements of 50 tasks on one connection: each gets its own answer")
  func manyTasks() async throws {
    try await withConnection { connection in
      try await withThrowingTaskGroup { group in
        for task in 0..<50 {
          group.addTask {
            for number in 0..<20 {
              let value = task * 1000 + number
              let rows = try await connection.execute(Self.echo, Parameters(value))
              #expect(rows.int64(0, 0) == Int64(value))
            }
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test("statements run in the order in which they are sent")
  func order() async throws {
    try await withConnection { connection in
      try await connection.script("CREATE TEMP TABLE numbers (place serial, number int8)")
      let insert = Statement("INSERT INTO numbers (number) VALUES ($1)")
      let pending = (0..<1000).map { connection.send(insert, Parameters($0)) }
      // Awaited backwards: an answer waits for its asker.
      for result in pending.reversed() {
        let affected = try await result.rows().affected
        #expect(affected == 1)
      }
      let disorder: Int = try await connection.one("SELECT count(*) FROM numbers WHERE place <> number + 1")
      #expect(disorder == 0)
    }
  }

  @Test("an error in the middle fails its own statement only")
  func error() async throws {
    try await withConnection { connection in
      let divide = Statement("SELECT 10 / $1")
      let pending = [5, 0, 2, 0, 1].map { connection.send(divide, Parameters($0)) }
      var answers: [Int64?] = []
      for result in pending { answers.append(try? await result.rows().int64(0, 0)) }
      #expect(answers == [2, nil, 5, nil, 10])
    }
  }

  @Test("each statement is a transaction of its own")
  func implicitTransactions() async throws {
    try await withConnection { connection in
      try await connection.script("CREATE TABLE kept (number int8 PRIMARY KEY)")
      let insert = Statement("INSERT INTO kept VALUES ($1)")
      let pending = [1, 2, 1, 3].map { connection.send(insert, Parameters($0)) }
      for result in pending { _ = await result.outcome() }
      let kept = try await TestDatabase.required.column("SELECT number FROM kept ORDER BY 1", as: Int.self)
      #expect(kept == [1, 2, 3])
    }
  }

  @Test("an answer that came before it was awaited is kept")
  func lateAwait() async throws {
    try await withConnection { connection in
      let first = connection.send(Self.echo, Parameters(1))
      try await connection.execute(Self.echo, Parameters(2))
      #expect(try await first.rows().int64(0, 0) == 1)
    }
  }

  @Test("closing fails what is under way, and what comes after")
  func close() async throws {
    try await withConnection { connection in
      let running = connection.send(Statement("SELECT pg_sleep(60)"))
      let queued = connection.send(Self.echo, Parameters(1))
      connection.close()
      let late = connection.send(Self.echo, Parameters(1))
      for (pending, code) in [
        (running, PostgreSQLError.Code.connectionLost), (queued, .connectionLost), (late, .closed),
      ] {
        let error = try await failure { try await pending.rows() }
        #expect(error.code == code)
      }
      let error = try await failure { try await connection.script("SELECT 1") }
      #expect(error.code == .closed)
    }
  }
}

@Suite("Prepared statements", .database, .timeLimit(.minutes(15)))
struct PreparedStatementTests {
  private let prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT 42'"

  @Test("a statement is prepared once", arguments: [true, false])
  func once(preparing: Bool) async throws {
    try await withConnection({ $0.preparedStatements = preparing }) { connection in
      let statement = Statement("SELECT 42")
      for _ in 0..<3 { try await connection.execute(statement) }
      let count: Int = try await connection.one(prepared)
      #expect(count == (preparing ? 1 : 0))
    }
  }

  @Test("errors and values are the same without preparing")
  func unprepared() async throws {
    try await withConnection({ $0.preparedStatements = false }) { connection in
      let divide = Statement("SELECT 10 / $1")
      let pending = [5, 0, 2].map { connection.send(divide, Parameters($0)) }
      #expect(try await pending[0].rows().int64(0, 0) == 2)
      let error = try await failure { try await pending[1].rows() }
      #expect(error.sqlState == "22012")
      #expect(try await pending[2].rows().int64(0, 0) == 5)
    }
  }

  @Test("after a failed preparation the next call prepares again")
  func failedPreparation() async throws {
    try await withConnection { connection in
      let statement = Statement("SELECT number FROM not_yet")
      // Pipelined: the second must fail for the table too, not for a prepared statement that is not there.
      let pending = [connection.send(statement), connection.send(statement)]
      for result in pending {
        let error = try await failure { try await result.rows() }
        #expect(error.sqlState == "42P01")
      }
      try await connection.script("CREATE TABLE not_yet AS SELECT 7::int8 AS number")
      for _ in 0..<2 { #expect(try await connection.execute(statement).int64(0, 0) == 7) }
    }
  }

  @Test("parameters of other types than at first are not mistaken for those")
  func changingTypes() async throws {
    try await withConnection { connection in
      let echo = Statement("SELECT $1::text")
      let parameters: [(Parameters, String)] = [
        (Parameters("a"), "a"), (Parameters(nil), ""), (Parameters("b"), "b"), (Parameters(7), "7"),
        (Parameters(0.5), "0.5"), (Parameters("c"), "c"),
      ]
      for (parameters, text) in parameters {
        let rows = try await connection.execute(echo, parameters)
        #expect(rows.text(0, 0) == text)
      }
      let nullFirst = Statement("SELECT $1::int4")
      try await connection.execute(nullFirst, Parameters(nil))
      let rows = try await connection.execute(nullFirst, Parameters(7))
      #expect(rows.int32(0, 0) == 7)
    }
  }

  @Test("a failed run does not make the server prepare again")
  func failedRun() async throws {
    try await withConnection { connection in
      let divide = Statement("SELECT 10 / $1")
      _ = try await failure { try await connection.execute(divide, Parameters(0)) }
      #expect(try await connection.execute(divide, Parameters(5)).int64(0, 0) == 2)
    }
  }

  @Test("a statement outlives a change of its result's type, and DEALLOCATE ALL")
  func changedSchema() async throws {
    try await withConnection { connection in
      try await connection.script("CREATE TABLE changing AS SELECT 1 AS a")
      let statement = Statement("SELECT * FROM changing")
      try await connection.execute(statement)
      try await connection.script("ALTER TABLE changing ADD b int DEFAULT 2")
      let error = try await failure { try await connection.execute(statement) }
      #expect(error.sqlState == "0A000")
      #expect(try await connection.execute(statement).columnCount == 2)

      let other = Statement("SELECT 3")
      try await connection.execute(other)
      try await connection.script("DEALLOCATE ALL")
      _ = try await failure { try await connection.execute(other) }
      #expect(try await connection.execute(other).int32(0, 0) == 3)
    }
  }
}
