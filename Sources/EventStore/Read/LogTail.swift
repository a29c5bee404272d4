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
    var waiting: [UInt64: UnsafeContinuation<Result<[Look], PostgreSQLError>, Never>]?
    var lastWaiter: UInt64 = 0
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
    let id = state.withLock { state in
      state.lastWaiter += 1
      return state.lastWaiter
    }
    let result: Result<[Look], PostgreSQLError> = await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        let (isCancelled, isFirst) = state.withLock { state in
          if Task.isCancelled { return (true, false) }
          defer { state.waiting = (state.waiting ?? [:]).merging([id: continuation]) { $1 } }
          return (false, state.waiting == nil)
        }
        if isCancelled { continuation.resume(returning: .failure(Self.cancelled)) }
        // In a task of its own: who asked first may be cancelled, and others wait.
        if isFirst {
          Task {
            let result = await self.look()
            let waiting = self.state.withLock { $0.waiting.take() ?? [:] }
            for one in waiting.values { one.resume(returning: result) }
          }
        }
      }
    } onCancel: {
      state.withLock { $0.waiting?.removeValue(forKey: id) }?.resume(returning: .failure(Self.cancelled))
    }
    return try result.get()
  }

  private static let cancelled = PostgreSQLError(.cancelled, "cancelled while the log was looked at")

  private func look() async -> Result<[Look], PostgreSQLError> {
    do throws(PostgreSQLError) {
      let hint = hints.count
      let lease = try await pool.lease()
      let connection = lease.connection
      defer { withExtendedLifetime(lease) {} }
      // Before the bound: see `LogPages`.
      let newest = Connection.newestSerial
      let last = state.withLock { $0.looks.last }
      // The bound first; the events only in a later statement, whose snapshot is younger.
      let bound = try await connection.execute(queries.horizon).int64(0, 0)
      // After a loss of connections the server may have crashed, and drawn positions again: what was looked at says nothing.
      let before = last.flatMap { connection.serial <= $0.newestConnection ? $0.bound : nil }
      let kinds = if let before { try await kinds(after: before, upTo: bound, connection) } else { Kinds?.none }
      let start = kinds == nil ? bound : before ?? bound
      let look = Look(
        start: start, bound: max(start, bound), categories: kinds?.categories ?? [], types: kinds?.types ?? [],
        hint: hint, connection: connection.serial, newestConnection: newest)
      return .success(
        state.withLock { state in
          if kinds == nil { state.looks = [] }
          state.looks.append(look)
          if state.looks.count > Self.kept { state.looks.removeFirst() }
          return Array(state.looks)
        })
    } catch {
      return .failure(error)
    }
  }

  private struct Kinds {
    var categories: Set<String> = []
    var types: Set<String> = []
  }

  /// - Returns: `nil`: they are not known.
  private func kinds(
    after start: Int64, upTo bound: Int64, _ connection: Connection
  ) async throws(PostgreSQLError) -> Kinds? {
    guard bound - start <= Self.longestStretch else { return nil }
    var kinds = Kinds()
    guard bound > start else { return kinds }
    let rows = try await connection.execute(queries.tailKinds, Parameters(start, bound))
    for row in rows.indices {
      guard !rows.isNull(row, 0) else { return nil }
      kinds.categories.insert(rows.text(row, 0))
      kinds.types.insert(rows.text(row, 1))
    }
    return kinds
  }
}
