import Glibc
import PostgreSQL
import TestSupport
import Testing

@Suite("Cancellation and time-outs", .database, .timeLimit(.minutes(15)))
struct CancellationTests {
  private static let sleep = Statement("SELECT pg_sleep(30)")
  private static let echo = Statement("SELECT $1")

  @Test("cancelling a task ends its statement on the server, and the connection serves on")
  func cancel() async throws {
    let database = try TestDatabase.required
    try await withConnection { connection in
      let backend = try await connection.backend
      let task = Task { try await connection.execute(Self.sleep) }
      try await eventually { try await database.isActive(backend) }
      let duration = try await duration {
        task.cancel()
        let error = try await failure { try await task.value }
        #expect(error.code == .cancelled)
        #expect(error.sqlState == "57014")
      }
      #expect(duration < .seconds(1))
      #expect(try await database.isActive(backend) == false)
      #expect(try await connection.execute(Self.echo, Parameters(5)).int64(0, 0) == 5)
    }
  }

  @Test(
    "cancelling a task ends its wait for a server that never answers; a pool has its room back", .timeLimit(.minutes(5))
  )
  func connecting() async throws {
    let silent = try SilentServer()
    defer { silent.close() }
    var configuration = ConnectionConfiguration(silent.connectionString)
    configuration.connectTimeout = .seconds(200)
    configuration.poolTimeout = .seconds(200)
    configuration.maximumConnections = 1
    let pool = ConnectionPool(configuration)
    for _ in 0..<3 {
      let task = Task { try await pool.lease() }
      try await Task.sleep(for: .milliseconds(20))
      task.cancel()
      let error = try await failure { try await task.value }
      #expect(error.code == .cancelled)
    }
    let already = Task { [configuration] in
      withUnsafeCurrentTask { $0?.cancel() }
      return try await Connection.connect(configuration)
    }
    let error = try await failure { try await already.value }
    #expect(error.code == .cancelled)
    pool.close()
  }

  @Test("a statement past its time-out is cancelled, and the connection serves on")
  func timeout() async throws {
    try await withConnection { connection in
      let duration = try await duration {
        let error = try await failure { try await connection.execute(Self.sleep, timeout: .milliseconds(200)) }
        #expect(error.code == .timeout)
      }
      #expect(duration > .milliseconds(190) && duration < .seconds(3))
      #expect(try await connection.execute(Self.echo, Parameters(5)).int64(0, 0) == 5)
    }
  }

  @Test("the configuration's time-out holds for scripts too")
  func scriptTimeout() async throws {
    try await withConnection({ $0.statementTimeout = .milliseconds(200) }) { connection in
      let error = try await failure { try await connection.script("SELECT 1; SELECT pg_sleep(30)") }
      #expect(error.code == .timeout)
      try await connection.script("SELECT 1")
    }
  }

  @Test("a short statement that is cancelled while it waits takes none behind it along")
  func cancelledWhileItWaits() async throws {
    try await withConnection { connection in
      for _ in 0..<10 {
        let first = connection.send(Statement("SELECT pg_sleep(0.05)"))
        let second = Task { try await connection.execute(Statement("SELECT 1")) }
        try await Task.sleep(for: .milliseconds(10))
        let third = connection.send(Statement("SELECT pg_sleep(0.05)"))
        second.cancel()
        try await first.rows()
        try await third.rows()
        _ = await second.result
      }
    }
  }

  @Test("a transaction that has failed can be rolled back by a script at once")
  func rolledBackByScript() async throws {
    try await withConnection { connection in
      try await connection.script("BEGIN")
      let failing = connection.send(Statement("SELECT 1 / 0"))
      try await connection.script("ROLLBACK")
      let error = try await failure { try await failing.rows() }
      #expect(error.sqlState == "22012")
      for _ in 0..<5 {
        try await connection.script("BEGIN")
        _ = try await failure { try await connection.execute(Self.sleep, timeout: .milliseconds(50)) }
        try await connection.script("ROLLBACK")
        #expect(try await connection.execute(Self.echo, Parameters(5)).int64(0, 0) == 5)
      }
    }
  }

  @Test("a statement in the queue is cancelled when its turn comes")
  func queued() async throws {
    try await withConnection { connection in
      let first = connection.send(Statement("SELECT pg_sleep(0.3)"))
      let task = Task { try await connection.execute(Self.sleep) }
      try await Task.sleep(for: .milliseconds(100))
      task.cancel()
      try await first.rows()
      let error = try await failure { try await task.value }
      #expect(error.code == .cancelled)
    }
  }

  @Test("cancelling after the end changes nothing")
  func tooLate() async throws {
    try await withConnection { connection in
      let pending = connection.send(Self.echo, Parameters(1))
      try await connection.execute(Self.echo, Parameters(2))
      let task = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        return try await pending.rows().int64(0, 0)
      }
      #expect(try await task.value == 1)
    }
  }

  @Test("a late cancellation never hits the next statement", arguments: [true, false])
  func noStrayCancellation(leasedAnew: Bool) async throws {
    try await withPool(maximum: 1) { pool in
      let short = Statement("SELECT pg_sleep(0.001)")
      let next = Statement("SELECT $1, pg_sleep(0.004)")
      var numbers = SeededNumbers(seed: 7)
      for round in 0..<150 {
        if leasedAnew {
          let task = Task { try await pool.execute(short) }
          try await Task.sleep(for: .microseconds(Int.random(in: 0...1800, using: &numbers)))
          task.cancel()
          do { _ = try await task.value } catch let error as PostgreSQLError {
            #expect(error.code == .cancelled)
          }
          #expect(try await pool.execute(next, Parameters(round)).int64(0, 0) == Int64(round))
        } else {
          let lease = try await pool.lease()
          let pending = lease.connection.send(short)
          let task = Task { try await pending.rows() }
          try await Task.sleep(for: .microseconds(Int.random(in: 0...1800, using: &numbers)))
          task.cancel()
          // Sent at once, perhaps while the request is on its way.
          _ = await task.result
          let after = (0..<3).map { lease.connection.send(next, Parameters(round + $0)) }
          for (offset, result) in after.enumerated() {
            #expect(try await result.rows().int64(0, 0) == Int64(round + offset))
          }
        }
      }
    }
  }

  @Test("a server that answers nothing, not even a cancellation, counts as lost")
  func frozenServer() async throws {
    // A server of its own: others' DROP DATABASE waits for every process.
    try await IsolatedServer.with { server in
      let connection = try await Connection.connect(ConnectionConfiguration(server.database.connectionString))
      defer { connection.close() }
      let backend = pid_t(try await connection.backend)
      kill(backend, SIGSTOP)
      defer { kill(backend, SIGCONT) }
      let duration = try await duration {
        let error = try await failure {
          try await connection.execute(Self.echo, Parameters(1), timeout: .milliseconds(200))
        }
        #expect(error.code == .connectionLost)
      }
      #expect(duration > .seconds(5) && duration < .seconds(15))
    }
  }
}

/// Takes connections, and says nothing.
private struct SilentServer {
  private let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  let connectionString: String

  init() throws {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isOpen = withUnsafeMutablePointer(to: &address) { [socket] pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(socket, $0, size) == 0 && listen(socket, 16) == 0 && getsockname(socket, $0, &size) == 0
      }
    }
    try #require(isOpen, "errno \(errno)")
    connectionString = "host=127.0.0.1 port=\(UInt16(bigEndian: address.sin_port)) user=nobody dbname=nothing"
  }

  func close() { _ = Glibc.close(socket) }
}
