import PostgreSQL
import TestSupport
import Testing

@Suite("Lost connections", .timeLimit(.minutes(15)))
struct LostConnectionTests {
  private static let one = Statement("SELECT 1")

  @Test("one that is killed while it runs fails with connectionLost; the pool recovers", .database)
  func killedWhileRunning() async throws {
    let database = try TestDatabase.required
    try await withPool(maximum: 1) { pool in
      let backend = try await pool.withConnection { try await $0.backend }
      let task = Task { try await pool.execute(Statement("SELECT pg_sleep(30)")) }
      try await eventually { try await database.isActive(backend) }
      try await database.terminate(backend)
      let error = try await failure { try await task.value }
      #expect(error.code == .connectionLost)
      #expect(error.isUnavailable)
      #expect(try await pool.withConnection { try await $0.backend } != backend)
    }
  }

  @Test("one that is killed while idle is noticed and replaced", .database)
  func killedWhileIdle() async throws {
    let database = try TestDatabase.required
    try await withPool(maximum: 1) { pool in
      let (connection, backend) = try await pool.withConnection { ($0, try await $0.backend) }
      try await database.terminate(backend)
      try await eventually { connection.failure != nil }
      #expect(connection.failure?.code == .connectionLost)
      #expect(try await pool.withConnection { try await $0.backend } != backend)
    }
  }

  @Test("what was wrong before is not told with it: it may hold values of rows", .database)
  func noValues() async throws {
    let database = try TestDatabase.required
    try await withConnection { connection in
      let backend = try await connection.backend
      try await connection.script("CREATE TABLE t (name text UNIQUE); INSERT INTO t VALUES ('hunter2')")
      let error = try await failure { try await connection.script("INSERT INTO t VALUES ('hunter2')") }
      #expect(error.sqlState == "23505" && error.constraint == "t_name_key" && error.message.contains("duplicate key"))
      try await database.terminate(backend)
      try await eventually { connection.failure != nil }
      let text = "\(try #require(connection.failure))"
      #expect(!text.contains("hunter2"), "\(text)")
    }
  }

  @Test("everything in the pipeline of a lost connection fails", .database)
  func pipeline() async throws {
    let database = try TestDatabase.required
    try await withConnection { connection in
      let backend = try await connection.backend
      let sleeping = connection.send(Statement("SELECT pg_sleep(30)"))
      let pending = [sleeping] + (0..<100).map { _ in connection.send(Self.one) }
      try await eventually { try await database.isActive(backend) }
      try await database.terminate(backend)
      for result in pending {
        let error = try await failure { try await result.rows() }
        #expect(error.code == .connectionLost)
      }
      let error = try await failure { try await connection.execute(Self.one) }
      #expect(error.code == .connectionLost)
    }
  }

  @Test("what was sent before the owner closes the connection may still be carried out, and says so", .database)
  func closedByOwner() async throws {
    let database = try TestDatabase.required
    try await database.sql("CREATE TABLE closing (number bigint)")
    try await withConnection { connection in
      let pending = connection.send(Statement("INSERT INTO closing SELECT 1 FROM pg_sleep(0.3)"))
      connection.close()
      let error = try await failure { try await pending.rows() }
      #expect(error.code == .connectionLost)
      let late = try await failure { try await connection.execute(Self.one) }
      #expect(late.code == .closed)
    }
    try await eventually { try await database.number("SELECT count(*) FROM closing") == 1 }
  }

  @Test("what a lost connection does late does not touch the one that got its socket's number", .database)
  func reusedSocket() async throws {
    let database = try TestDatabase.required
    let configuration = ConnectionConfiguration(database.connectionString)
    let lost = try await Connection.connect(configuration)
    let backend = try await lost.backend
    // So much that reading stops until the consumer has taken some.
    let copy = try await lost.copyOut("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT")
    try await eventually { try await database.waitEvent(backend) == "ClientWrite" }
    lost.close()
    var others: [Connection] = []
    for _ in 0..<8 { others.append(try await Connection.connect(configuration)) }
    let error = try await failure { while try await copy.next() != nil {} }
    #expect(error.code == .connectionLost)
    for other in others {
      try await other.execute(Self.one, timeout: .seconds(2))
      other.close()
    }
  }

  @Test("a pool outlives its server: connectionLost, connectFailed, and back")
  func stoppedServer() async throws {
    try await IsolatedServer.with { server in
      var configuration = ConnectionConfiguration(server.database.connectionString)
      configuration.maximumConnections = 2
      let pool = ConnectionPool(configuration)
      defer { pool.close() }
      try await pool.execute(Self.one)
      let running = Task { try await pool.execute(Statement("SELECT pg_sleep(30)")) }
      try await Task.sleep(for: .milliseconds(200))
      try await server.kill()
      let lost = try await failure { try await running.value }
      #expect(lost.code == .connectionLost)
      let failed = try await failure { try await pool.execute(Self.one) }
      #expect([.connectFailed, .connectionLost].contains(failed.code))
      let again = try await failure { try await pool.execute(Self.one) }
      #expect(again.code == .connectFailed)
      try await server.restart()
      for _ in 0..<4 { try await pool.execute(Self.one) }
    }
  }
}
