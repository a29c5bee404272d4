import Dispatch
import PostgreSQL
import TestSupport
import Testing

@Suite("Waiting on the caller's own thread", .database, .timeLimit(.minutes(15)))
struct WaitingTests {
  private static let echo = Statement("SELECT $1")
  private static let sleep = Statement("SELECT pg_sleep($1)")

  @Test("the result arrives; then the reactor serves the connection again")
  func result() async throws {
    try await withConnection { connection in
      for number in 1...20 {
        let rows = try await connection.send(Self.echo, Parameters(number)).outcome(waitingFor: .seconds(10)).get()
        #expect(rows.int64(0, 0) == Int64(number))
        let after = try await connection.execute(Self.echo, Parameters(-number))
        #expect(after.int64(0, 0) == Int64(-number))
      }
    }
  }

  @Test("a value of 10 MB goes both ways, past what the socket holds")
  func large() async throws {
    let value = Bytea([UInt8](repeating: 7, count: 10 << 20))
    try await withConnection { connection in
      let rows = try await connection.send(Self.echo, Parameters(value)).outcome(waitingFor: .seconds(60)).get()
      #expect(rows.bytes(0, 0).count == value.bytes.count)
    }
  }

  @Test("after the limit the reactor takes over")
  func limit() async throws {
    try await withConnection { connection in
      let pending = connection.send(Self.sleep, Parameters(0.3))
      let start = ContinuousClock.now
      _ = try await pending.outcome(waitingFor: .milliseconds(20)).get()
      #expect(start.duration(to: .now) >= .milliseconds(250))
    }
  }

  @Test("an error, a time-out and a killed server end the wait")
  func failures() async throws {
    let database = try TestDatabase.required
    try await withConnection { connection in
      let backend = try await connection.backend
      let refused = try await failure {
        try await connection.send(Statement("SELECT 1 / 0")).outcome(waitingFor: .seconds(60)).get()
      }
      #expect(refused.sqlState == "22012")
      let late = try await failure {
        try await withTaskExecutorPreference(OwnThread()) {
          try await connection.send(Self.sleep, Parameters(30.0), timeout: .milliseconds(50))
            .outcome(waitingFor: .seconds(60)).get()
        }
      }
      #expect(late.code == .timeout)
      let sleeping = connection.send(Self.sleep, Parameters(30.0))
      let killing = Task {
        try await eventually { try await database.isActive(backend) }
        try await database.terminate(backend)
      }
      let lost = try await failure {
        try await withTaskExecutorPreference(OwnThread()) {
          try await sleeping.outcome(waitingFor: .seconds(60)).get()
        }
      }
      #expect(lost.code == .connectionLost)
      try await killing.value
    }
  }

  @Test("closing the connection ends the wait")
  func closing() async throws {
    try await withConnection { connection in
      let sleeping = connection.send(Self.sleep, Parameters(600.0), timeout: .seconds(900))
      let closing = Task {
        try await Task.sleep(for: .milliseconds(50))
        connection.close()
      }
      let closed = try await failure {
        try await withTaskExecutorPreference(OwnThread()) {
          try await sleeping.outcome(waitingFor: .seconds(900)).get()
        }
      }
      #expect(closed.code == .connectionLost)
      try await closing.value
    }
  }

  @Test("a result that was thought to be there at once can be waited for, and cancelled")
  func prompt() async throws {
    try await withConnection { connection in
      for number in 1...300 {
        let rows = try await connection.send(Self.echo, Parameters(number)).promptRows()
        #expect(rows.int64(0, 0) == Int64(number))
      }
      _ = try await connection.send(Self.sleep, Parameters(0.2)).promptRows()
      let task = Task { try await connection.send(Self.sleep, Parameters(600.0), timeout: .seconds(900)).promptRows() }
      try await Task.sleep(for: .milliseconds(50))
      task.cancel()
      let cancelled = try await failure { try await task.value }
      #expect(cancelled.code == .cancelled)
    }
  }

  @Test("a connection whose last caller waited itself still notices that it was killed")
  func idle() async throws {
    let database = try TestDatabase.required
    try await withConnection { connection in
      let backend = try await connection.backend
      _ = try await connection.send(Self.echo, Parameters(1)).outcome(waitingFor: .seconds(10)).get()
      try await database.terminate(backend)
      try await eventually { connection.failure != nil }
      #expect(connection.failure?.code == .connectionLost)
    }
  }
}

/// For a wait that another task is to end: where all threads that tasks share wait, that one never runs.
private final class OwnThread: TaskExecutor {
  private let queue = DispatchQueue(label: "waiting")

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let executor = asUnownedTaskExecutor()
    queue.async { job.runSynchronously(on: executor) }
  }
}
