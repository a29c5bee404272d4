internal import Synchronization

/// A statement that was sent and whose result has not been fetched: several may be under way on one connection.
///
/// The statement runs whether or not its result is awaited; an abandoned result is dropped when it arrives.
public final class PendingResult: Sendable {
  private enum State {
    case waiting
    case awaited(UnsafeContinuation<Result<Rows, PostgreSQLError>, Never>)
    case done(Result<Rows, PostgreSQLError>)
  }

  private let state = Mutex(State.waiting)
  private let connection: Connection

  init(_ connection: Connection) { self.connection = connection }

  /// Waits for the result. To be called once.
  ///
  /// Cancelling the task cancels the statement on the server, and throws `cancelled`; when the result was already
  /// there it is returned. A statement sent behind it may be hit if this one ends at the same moment.
  @discardableResult
  public func rows() async throws(PostgreSQLError) -> Rows {
    try await cancellableOutcome().get()
  }

  /// As ``rows()``.
  package func cancellableOutcome() async -> Result<Rows, PostgreSQLError> {
    await withTaskCancellationHandler {
      await outcome()
    } onCancel: {
      connection.cancel(self)
    }
  }

  /// As ``rows()``, for a statement that is answered at once and that its caller can do nothing without: one who is
  /// alone waits for it on the calling thread.
  package func promptRows() async throws(PostgreSQLError) -> Rows {
    if LoneCaller.isAlone {
      let start = ContinuousClock.now
      let outcome = wait(for: LoneCaller.patience)
      if start.duration(to: .now) >= LoneCaller.patience { LoneCaller.waitedInVain() }
      if let outcome { return try outcome.get() }
    }
    return try await rows()
  }

  /// Waits for the result whatever happens to the task: for statements that carry the work of several tasks.
  public func outcome() async -> Result<Rows, PostgreSQLError> {
    connection.returnToReactor()
    return await withUnsafeContinuation { continuation in
      let done = state.withLock { state -> Result<Rows, PostgreSQLError>? in
        switch state {
        case .done(let result): return result
        case .waiting:
          state = .awaited(continuation)
          return nil
        case .awaited: preconditionFailure("a pending result is awaited twice")
        }
      }
      if let done { continuation.resume(returning: done) }
    }
  }

  /// As ``outcome()``, but waits on the calling thread first, for up to `limit`: it saves the latency of two threads
  /// that wake each other. To be used where that thread has nothing better to do.
  package func outcome(waitingFor limit: Duration) async -> Result<Rows, PostgreSQLError> {
    if let outcome = wait(for: limit) { return outcome }
    return await outcome()
  }

  /// The result, if it comes within `limit`, for which the calling thread waits.
  ///
  /// - Parameter onInput: Called, on this thread, each time that something has come from the server, before it is taken in:
  ///   the result is probably moments away.
  package func wait(for limit: Duration, onInput: () -> Void = {}) -> Result<Rows, PostgreSQLError>? {
    if limit > .zero, done == nil { connection.wait(for: limit, onInput: onInput) { done != nil } }
    return done
  }

  package var isDone: Bool { done != nil }

  private var done: Result<Rows, PostgreSQLError>? {
    state.withLock { if case .done(let result) = $0 { result } else { nil } }
  }

  func complete(_ result: Result<Rows, PostgreSQLError>) {
    let waiter = state.withLock { state -> UnsafeContinuation<Result<Rows, PostgreSQLError>, Never>? in
      switch state {
      case .waiting:
        state = .done(result)
        return nil
      case .awaited(let continuation):
        state = .done(result)
        return continuation
      case .done: return nil
      }
    }
    waiter?.resume(returning: result)
  }
}
