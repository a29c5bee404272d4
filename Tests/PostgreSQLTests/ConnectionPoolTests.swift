import PostgreSQL
import TestSupport
import Testing

@Suite("Connection pool", .database, .timeLimit(.minutes(15)))
struct ConnectionPoolTests {
  private static let echo = Statement("SELECT $1")
  private static let nap = Statement("SELECT pg_sleep(0.005)")

  @Test("never more connections than the limit")
  func bound() async throws {
    let database = try TestDatabase.required
    try await withPool(maximum: 3, { $0.applicationName = "bounded" }) { pool in
      let query =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bounded' "
        + "AND datname = current_database()"
      try await withThrowingTaskGroup { group in
        for _ in 0..<40 {
          group.addTask { for _ in 0..<5 { try await pool.execute(Self.nap) } }
        }
        for _ in 0..<10 {
          let count = try await database.number(query)
          #expect(count <= 3)
        }
        try await group.waitForAll()
      }
      #expect(try await database.number(query) == 3)
    }
  }

  @Test("who waits longest is served first")
  func order() async throws {
    try await withPool(maximum: 1) { pool in
      var lease: ConnectionPool.Lease? = try await pool.lease()
      let served = try await withThrowingTaskGroup { group in
        for number in 0..<6 {
          group.addTask {
            let lease = try await pool.lease()
            let time = ContinuousClock.now
            try await lease.connection.execute(Self.nap)
            return (number: number, time: time)
          }
          try await Task.sleep(for: .milliseconds(30))
        }
        _ = lease
        lease = nil
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(served.sorted { $0.time < $1.time }.map(\.number) == [0, 1, 2, 3, 4, 5])
    }
  }

  @Test("waiting ends with poolTimeout", arguments: [Duration.zero, .milliseconds(100)])
  func timeout(patience: Duration) async throws {
    try await withPool(maximum: 1, { $0.poolTimeout = patience }) { pool in
      try await pool.withConnection { _ in
        let duration = try await duration {
          let error = try await failure { try await pool.execute(Self.nap) }
          #expect(error.code == .poolTimeout)
          #expect(error.isUnavailable)
        }
        #expect(duration >= patience && duration < .seconds(2))
      }
      try await pool.execute(Self.nap)
    }
  }

  @Test("a cancelled waiter goes, and takes no connection with it")
  func cancelledWaiter() async throws {
    try await withPool(maximum: 1) { pool in
      try await pool.withConnection { _ in
        let task = Task { try await pool.execute(Self.nap) }
        try await Task.sleep(for: .milliseconds(30))
        let duration = try await duration {
          task.cancel()
          let error = try await failure { try await task.value }
          #expect(error.code == .cancelled)
        }
        #expect(duration < .seconds(1))
      }
      try await pool.execute(Self.nap)
    }
  }

  @Test("waiters come and go at random: none is lost, none is served twice")
  func randomWaiters() async throws {
    try await withPool(maximum: 2, { $0.poolTimeout = .milliseconds(40) }) { pool in
      try await withThrowingTaskGroup { group in
        for number in 0..<200 {
          group.addTask {
            let task = Task { try await pool.execute(Self.echo, Parameters(number)).int64(0, 0) }
            if number % 3 == 0 {
              try await Task.sleep(for: .microseconds(number * 37 % 5000))
              task.cancel()
            }
            do {
              #expect(try await task.value == Int64(number))
            } catch let error as PostgreSQLError {
              #expect([.cancelled, .poolTimeout].contains(error.code))
            }
          }
        }
        try await group.waitForAll()
      }
      async let one = pool.execute(Self.echo, Parameters(1))
      async let two = pool.execute(Self.echo, Parameters(2))
      #expect(try await (one.int64(0, 0), two.int64(0, 0)) == (1, 2))
    }
  }

  @Test("a waiter is not lost when a connection cannot be made")
  func failingConnections() async throws {
    try await withPool(maximum: 1, { $0.connectionString = "host=/nowhere" }) { pool in
      await withTaskGroup { group in
        for _ in 0..<10 {
          group.addTask {
            let error = try? await failure { try await pool.execute(Self.nap) }
            #expect(error?.code == .connectFailed)
          }
        }
      }
    }
  }

  @Test("a connection with a transaction left open is not given on")
  func openTransaction() async throws {
    let database = try TestDatabase.required
    try await withPool(maximum: 1) { pool in
      let first = try await pool.withConnection { connection in
        let backend = try await connection.backend
        try await connection.execute(Statement("BEGIN"))
        return backend
      }
      let second = try await pool.withConnection { try await $0.backend }
      #expect(first != second)
      try await eventually { try await !database.isThere(first) }
    }
  }

  @Test("nor is one whose abandoned statements open one later")
  func abandonedTransaction() async throws {
    let database = try TestDatabase.required
    try await withPool(maximum: 1) { pool in
      let first = try await pool.withConnection { connection in
        let backend = try await connection.backend
        _ = connection.send(Statement("SELECT pg_sleep(0.1)"))
        _ = connection.send(Statement("BEGIN"))
        return backend
      }
      let second = try await pool.withConnection { try await $0.backend }
      #expect(first != second)
      try await eventually { try await !database.isThere(first) }
    }
  }

  @Test("a connection with an abandoned statement serves on when that has ended")
  func abandonedStatement() async throws {
    try await withPool(maximum: 1) { pool in
      let first = try await pool.withConnection { connection in
        let backend = try await connection.backend
        _ = connection.send(Statement("SELECT pg_sleep(0.1)"))
        _ = connection.send(Statement("SELECT 1 / 0"))
        return backend
      }
      #expect(try await pool.withConnection { try await $0.backend } == first)
    }
  }

  @Test("an abandoned COPY costs its connection")
  func abandonedCopy() async throws {
    try await withPool(maximum: 1) { pool in
      let first = try await pool.withConnection { connection in
        let backend = try await connection.backend
        let copy = try await connection.copyOut("COPY (SELECT generate_series(1, 1000000)) TO STDOUT")
        _ = try await copy.next()
        return backend
      }
      #expect(try await pool.withConnection { try await $0.backend } != first)
    }
  }

  @Test("a closed pool fails what runs, who waits, and who comes")
  func close() async throws {
    try await withPool(maximum: 1) { pool in
      let running = Task { try await pool.execute(Statement("SELECT pg_sleep(30)")) }
      try await Task.sleep(for: .milliseconds(100))
      let waiting = Task { try await pool.execute(Self.nap) }
      try await Task.sleep(for: .milliseconds(30))
      pool.close()
      for (task, code) in [
        (running, PostgreSQLError.Code.connectionLost), (waiting, .closed),
        (Task { try await pool.execute(Self.nap) }, .closed),
      ] {
        let error = try await failure { try await task.value }
        #expect(error.code == code)
      }
    }
  }

  @Test("closing while a connection is being made leaves none behind")
  func closeWhileConnecting() async throws {
    let database = try TestDatabase.required
    for delay in [0, 1, 2, 5] {
      try await withPool(maximum: 4, { $0.applicationName = "closing" }) { pool in
        let tasks = (0..<4).map { _ in Task { try await pool.execute(Self.nap) } }
        try await Task.sleep(for: .milliseconds(delay))
        pool.close()
        for task in tasks { _ = await task.result }
      }
    }
    try await eventually {
      try await database.number("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'closing'") == 0
    }
  }
}

extension TestDatabase {
  fileprivate func isThere(_ backend: Int) async throws -> Bool {
    try await number("SELECT count(*) FROM pg_stat_activity WHERE pid = $1::int8", Parameters(backend)) == 1
  }
}
