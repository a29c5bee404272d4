import PostgreSQL
import TestSupport
import Testing

/// Many tasks use one pool at random: every one gets its own answers, and nothing hangs.
@Suite("Random use of a pool", .database, .timeLimit(.minutes(15)))
struct RandomUseTests {
  private static let echo = Statement("SELECT $1")
  private static let divide = Statement("SELECT 10 / $1")
  private static let nap = Statement("SELECT $1, pg_sleep($2)")
  private static let insert = Statement("INSERT INTO marks VALUES ($1)")

  private struct Changed: Error {}

  @Test(arguments: [1, 2, UInt64.random(in: 3...(.max))])
  func randomUse(seed: UInt64) async throws {
    let database = try TestDatabase.required
    try await database.sql("CREATE TABLE marks (mark int8 PRIMARY KEY)")
    try await withPool(maximum: 4) { pool in
      let kept = try await withThrowingTaskGroup { group in
        for task in 0..<16 {
          group.addTask {
            var numbers = SeededNumbers(seed: seed &+ UInt64(task) &* 7919)
            var kept = 0
            for step in 0..<40 {
              kept += try await Self.step(of: pool, mark: task * 1000 + step, &numbers) ? 1 : 0
            }
            return kept
          }
        }
        return try await group.reduce(0, +)
      }
      #expect(try await database.number("SELECT count(*) FROM marks") == kept, "seed \(seed)")
    }
  }

  /// One random act; `true` if it left a mark in the table.
  private static func step(of pool: ConnectionPool, mark: Int, _ numbers: inout SeededNumbers) async throws -> Bool {
    switch Int.random(in: 0..<9, using: &numbers) {
    case 0:
      let value = Bytea([UInt8](repeating: UInt8(mark % 256), count: Int.random(in: 0...300_000, using: &numbers)))
      let rows = try await pool.execute(echo, Parameters(value))
      #expect(rows.holds(value.bytes))
    case 8:
      let value = Bytea([UInt8](repeating: UInt8(mark % 256), count: Int.random(in: 0...300_000, using: &numbers)))
      let limit = Duration.microseconds(Int.random(in: 0...500, using: &numbers))
      try await pool.withConnection { connection in
        // Two behind each other: a thread that waits for the second may find the first on its way.
        let first = connection.send(echo, Parameters(value))
        let second = connection.send(nap, Parameters(mark, 0.0005))
        let napped = try await second.outcome(waitingFor: limit).get()
        let echoed = try await first.outcome(waitingFor: limit).get()
        #expect(napped.int64(0, 0) == Int64(mark) && echoed.holds(value.bytes))
      }
    case 1:
      let error = try await failure { try await pool.execute(divide, Parameters(0)) }
      #expect(error.sqlState == "22012")
    case 2:
      let task = Task { try await pool.execute(nap, Parameters(mark, 0.002)).int64(0, 0) }
      try await Task.sleep(for: .microseconds(Int.random(in: 0...4000, using: &numbers)))
      task.cancel()
      do {
        #expect(try await task.value == Int64(mark))
      } catch let error as PostgreSQLError {
        #expect(error.code == .cancelled)
      }
    case 3:
      let divisors = (0..<5).map { _ in Int.random(in: 0...2, using: &numbers) }
      try await pool.withConnection { connection in
        let pending = divisors.map { connection.send(divide, Parameters($0)) }
        for (divisor, result) in zip(divisors, pending) {
          switch await result.outcome() {
          case .success(let rows): #expect(rows.int64(0, 0) == 10 / Int64(divisor))
          case .failure(let error): #expect(divisor == 0 && error.sqlState == "22012")
          }
        }
      }
    case 4:
      let commits = Bool.random(using: &numbers)
      do {
        try await pool.withTransaction { transaction in
          try await transaction.execute(insert, Parameters(mark))
          if !commits { throw Changed() }
        }
      } catch is Changed {}
      return commits
    case 5:
      // Sent and never fetched.
      try await pool.withConnection { connection in
        _ = connection.send(nap, Parameters(mark, 0.001))
        _ = connection.send(divide, Parameters(0))
      }
    case 6:
      let timeout = Duration.milliseconds(Int.random(in: 0...30, using: &numbers))
      let error = try await failure { try await pool.execute(nap, Parameters(mark, 5.0), timeout: timeout) }
      #expect(error.code == .timeout)
    default:
      try await pool.withConnection { connection in
        let script = try await connection.script("SELECT \(mark)")
        #expect(script.text(0, 0) == "\(mark)")
        let rows = try await connection.send(echo, Parameters(mark)).promptRows()
        #expect(rows.int64(0, 0) == Int64(mark))
      }
    }
    return false
  }
}
