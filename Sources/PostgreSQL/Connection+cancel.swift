internal import CPostgreSQL
internal import DequeModule
internal import Synchronization

/// Cancelling. PostgreSQL cancels whatever a connection runs when the request reaches it, so that until the request
/// is over nothing else is sent: a late one would hit a statement that it was not meant for.
extension Connection {
  static let unresponsive = PostgreSQLError(
    .connectionLost, "the server did not answer in time, not even to a cancellation")
  /// The server ignores a request that comes before it has begun with the statement: one a second is made.
  static let cancelAttempts = 5

  /// Asks the server to cancel `pending` if it runs, or as soon as it does; takes it back if it was not sent yet.
  ///
  /// Statements that were sent behind it may be hit in its place when it ends at the same moment.
  func cancel(_ pending: PendingResult) {
    let (isUnsent, onSettled) = state.withLock { state -> (Bool, (@Sendable () -> Void)?) in
      if let index = state.held.firstIndex(where: { $0.pending === pending }) {
        state.held.remove(at: index)
        return (true, Self.takeOnSettled(&state))
      }
      guard let index = state.entries.firstIndex(where: { $0.pending === pending }),
        state.entries[index].cancelReason == nil
      else { return (false, nil) }
      state.entries[index].cancelReason = .cancelled
      if index == 0 { requestCancel(&state) }
      return (false, nil)
    }
    if isUnsent { pending.complete(.failure(PostgreSQLError(.cancelled, "cancelled before it was sent"))) }
    onSettled?()
  }

  /// Asks the server to cancel the first entry. A server that answers none of the attempts counts as lost.
  func requestCancel(_ state: inout State) {
    guard !state.entries.isEmpty else { return }
    let isRepeated = state.entries[0].cancelAttempts > 0
    state.entries[0].cancelAttempts += 1
    state.entries[0].deadline = .now.advanced(milliseconds: 1000)
    // One that hangs is not helped by another.
    guard !isRepeated || state.cancelRequests == 0, let cancel = PQgetCancel(state.pg) else { return }
    state.cancelRequests += 1
    state.cancelSince = state.cancelSince ?? .now
    // PQcancel opens a connection of its own and waits until the server has passed the request on. The pointer goes
    // to that thread and to nobody else.
    nonisolated(unsafe) let handle = cancel
    NewThread.startOrWait { [self] in
      var message = [CChar](repeating: 0, count: 256)
      PQcancel(handle, &message, Int32(message.count))
      PQfreeCancel(handle)
      cancelReturned()
    }
  }

  private func cancelReturned() {
    let (failure, onSettled) = state.withLock { state -> (PostgreSQLError?, (@Sendable () -> Void)?) in
      state.cancelRequests -= 1
      guard state.cancelRequests == 0 else { return (nil, nil) }
      state.cancelSince = nil
      while let held = state.held.popFirst() {
        if let failure = submit(held, &state) {
          // Among what fails with the connection.
          state.held.prepend(held)
          return (failure, nil)
        }
      }
      return (nil, Self.takeOnSettled(&state))
    }
    onSettled?()
    if let failure { fail(failure) }
  }

  // MARK: Coming to rest

  /// Whether nothing is under way here. If something is, `then` is called once that is over, at the latest when
  /// the connection fails. A COPY or script that nobody follows any more is not waited for: the connection is closed.
  func isSettled(orElse then: @escaping @Sendable () -> Void) -> Bool {
    let (isSettled, isStuck) = state.withLock { state -> (Bool, Bool) in
      if state.isAtRest { return (true, false) }
      if let first = state.entries.first, !first.isStatement { return (true, true) }
      state.onSettled = then
      // Nobody may wait for what is under way.
      Self.returnToReactor(&state)
      return (false, false)
    }
    if isStuck { close() }
    return isSettled
  }

  static func takeOnSettled(_ state: inout State) -> (@Sendable () -> Void)? {
    guard state.isAtRest || state.failure != nil else { return nil }
    defer { state.onSettled = nil }
    return state.onSettled
  }
}

extension Connection.State {
  /// Nothing is under way, not even a cancel request: what is sent next would wait for that.
  var isAtRest: Bool { entries.isEmpty && held.isEmpty && cancelRequests == 0 }

  /// Whether nothing but a cancel request is under way, and has been for as long as the server is given to obey one.
  func isCancelHanging(_ now: Deadline) -> Bool {
    guard entries.isEmpty, let cancelSince else { return false }
    return now >= cancelSince.advanced(milliseconds: 1000 * Int64(Connection.cancelAttempts))
  }
}
