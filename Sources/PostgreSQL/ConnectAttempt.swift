internal import Synchronization

/// A connection that a thread of its own is making. Who waits for it and is cancelled goes at once; the thread, which libpq holds
/// until a host has answered or its time is over, then closes what it made.
final class ConnectAttempt: Sendable {
  private typealias Outcome = Result<Connection, PostgreSQLError>

  private enum State {
    case underWay
    case awaited(UnsafeContinuation<Outcome, Never>)
    case ended(Outcome)
    /// Who waited has what came of it.
    case told
    case givenUp
  }

  private let state = Mutex(State.underWay)

  /// - Parameter connect: Called on a thread of its own; it may block.
  init(_ connect: @escaping @Sendable () -> Result<Connection, PostgreSQLError>) {
    NewThread.startOrWait { [self] in end(connect()) }
  }

  /// To be called once.
  func connection() async throws(PostgreSQLError) -> Connection {
    let outcome = await withTaskCancellationHandler {
      await withUnsafeContinuation { (continuation: UnsafeContinuation<Outcome, Never>) in
        let known = state.withLock { state -> Outcome? in
          switch state {
          case .ended(let outcome):
            state = .told
            return outcome
          case .givenUp: return .failure(Self.cancelled)
          case .underWay:
            state = .awaited(continuation)
            return nil
          case .awaited, .told: preconditionFailure("an attempt to connect is awaited twice")
          }
        }
        if let known { continuation.resume(returning: known) }
      }
    } onCancel: {
      giveUp()
    }
    let connection = try outcome.get()
    if Task.isCancelled {
      connection.close()
      throw Self.cancelled
    }
    return connection
  }

  private static let cancelled = PostgreSQLError(.cancelled, "cancelled while connecting")

  private func end(_ outcome: Outcome) {
    let waiter = state.withLock { state -> UnsafeContinuation<Outcome, Never>? in
      switch state {
      case .givenUp:
        if case .success(let connection) = outcome { connection.close() }
        return nil
      case .awaited(let continuation):
        state = .told
        return continuation
      case .underWay:
        state = .ended(outcome)
        return nil
      case .ended, .told: preconditionFailure("an attempt to connect ended twice")
      }
    }
    waiter?.resume(returning: outcome)
  }

  private func giveUp() {
    let (waiter, made) = state.withLock { state -> (UnsafeContinuation<Outcome, Never>?, Connection?) in
      if case .told = state { return (nil, nil) }
      defer { state = .givenUp }
      switch state {
      case .awaited(let continuation): return (continuation, nil)
      case .ended(.success(let connection)): return (nil, connection)
      case .underWay, .ended, .told, .givenUp: return (nil, nil)
      }
    }
    made?.close()
    waiter?.resume(returning: .failure(Self.cancelled))
  }
}
