internal import DequeModule
internal import PostgreSQL
internal import Synchronization

/// What kinds of events have come to the log lately: looked at once for all readers of a process who have found nothing for them in a
/// row, so that many of them cost a busy log little more than one.
final class LogTail: Sendable {
  /// All that is decided after `start` and up to `bound` has one of these categories, and one of these types.
  struct Look: Sendable {
    let start: Int64
    let bound: Int64
    let categories: Set<String>
    let types: Set<String>
    /// How many hints there were before it.
    let hint: UInt64
    /// The connection that it was taken on, and the newest of the process then: see ``LogPages``.
    let connection: UInt64
    let newestConnection: UInt64
  }

  private struct State {
    /// Without gaps, the oldest first.
    var looks: Deque<Look> = []
    /// Those who wait for the look that is under way; `nil`: none is.
    var waiting: [UnsafeContinuation<Result<[Look], PostgreSQLError>, Never>]?
  }
  private let state = Mutex(State())
  private let pool: ConnectionPool
  private let queries: Queries
  private let hints: Hints
  private static let kept = 64
  /// A longer stretch is left to each reader's own query, which looks for what it wants only.
  private static let longestStretch: Int64 = 20_000

  init(_ pool: ConnectionPool, _ queries: Queries, _ hints: Hints) {
    self.pool = pool
    self.queries = queries
    self.hints = hints
  }

  /// The looks of the last time, and a new one; or, where one is under way, that: its `hint` says what it may have missed.
  func looks() async throws(PostgreSQLError) -> [Look] {
    let result: Result<[Look], PostgreSQLError> = await withUnsafeContinuation { continuation in
      let isFirst = state.withLock { state in
        defer { state.waiting = (state.waiting ?? []) + [continuation] }
        return state.waiting == nil
      }
      // In a task of its own: who asked first may be cancelled, and others wait.
      if isFirst {
        Task {
          let result = await self.look()
          let waiting = self.state.withLock { $0.waiting.take() ?? [] }
          for one in waiting { one.resume(returning: result) }
        }
      }
    }
    return try result.get()
  }

  private func look() async -> Result<[Look], PostgreSQLError> {
    do throws(PostgreSQLError) {
      let hint = hints.count
      let lease = try await pool.lease()
      let connection = lease.connection
      let last = state.withLock { $0.looks.last }
      // The bound first; the events only in a later statement, whose snapshot is younger.
      let bound = try await connection.execute(queries.horizon).int64(0, 0)
      let newest = Connection.newestSerial
      // After a loss of connections the server may have crashed, and drawn positions again: what was looked at says nothing.
      let start = last.flatMap { connection.serial <= $0.newestConnection ? $0.bound : nil } ?? bound
      var categories: Set<String> = []
      var types: Set<String> = []
      var isKnown = bound - start <= Self.longestStretch
      if isKnown, bound > start {
        let rows = try await connection.execute(queries.tailKinds, Parameters(start, bound))
        for row in rows.indices {
          if rows.isNull(row, 0) { isKnown = false } else { categories.insert(rows.text(row, 0)) }
          types.insert(rows.text(row, 1))
        }
      }
      let look = Look(
        start: isKnown ? start : bound, bound: max(start, bound), categories: categories, types: types, hint: hint,
        connection: connection.serial, newestConnection: newest)
      return .success(
        state.withLock { state in
          if look.start != last?.bound || last == nil { state.looks = [] }
          state.looks.append(look)
          if state.looks.count > Self.kept { state.looks.removeFirst() }
          return Array(state.looks)
        })
    } catch {
      return .failure(error)
    }
  }
}
