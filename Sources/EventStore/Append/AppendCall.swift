internal import PostgreSQL

/// A call, under way, that appends several requests in one transaction, each with its own verdict.
struct AppendCall {
  private enum Kind {
    case placed(PlacedCall)
    case checked(CheckedCall)
  }

  let connection: Connection
  /// This process's, when it was sent.
  let newestConnection: UInt64
  private let queries: Queries
  let requests: [AppendRequest]
  private let kind: Kind
  private let pending: PendingResult
  /// Whether room is kept for it to wait for a lock however long that takes.
  var isUnlimited = false

  /// Sends it.
  ///
  /// - Parameters:
  ///   - mayBePlaced: `false`: what this process has seen of the streams is not to be relied on.
  ///   - inTransaction: Whether the connection is in a transaction, which a conflict must not end.
  init(
    _ requests: [AppendRequest], mayBePlaced: Bool = true, _ limits: CallLimits = .none, inTransaction: Bool = false,
    on connection: Connection, _ queries: Queries
  ) {
    self.connection = connection
    self.queries = queries
    self.requests = requests
    newestConnection = Connection.newestSerial
    if mayBePlaced, requests.allSatisfy({ $0.parts.allSatisfy { $0.isPlaced(on: connection) } }) {
      let appends = requests.count == 1 ? requests[0].parts : requests.flatMap(\.parts)
      let call = PlacedCall(appends, mayRaise: !inTransaction && limits.lockTimeout == nil)
      kind = .placed(call)
      pending = call.send(on: connection, queries, limits)
    } else {
      let call = CheckedCall(requests)
      kind = .checked(call)
      pending = call.send(on: connection, queries, limits)
    }
  }

  /// A verdict for each part of each request, in order, where the server says so within `limit`, for which the calling
  /// thread waits; `nil`: there is more to wait for, see ``verdicts(waitingFor:)``.
  ///
  /// - Parameter onInput: Called when the answer is there, before it is read.
  func verdicts(within limit: Duration, onInput: () -> Void) -> [Verdict]? {
    guard case .success(let rows)? = pending.wait(for: limit, onInput: onInput) else { return nil }
    switch kind {
    case .placed(let call): return call.verdicts(rows)
    case .checked(let call): return call.verdicts(rows)
    }
  }

  /// Whether the server has not answered.
  var isPending: Bool { !pending.isDone }

  /// A verdict for each part of each request, in order.
  ///
  /// - Parameters:
  ///   - limit: How long to wait on the calling thread first.
  ///   - isCancellable: Whether it ends with the calling task. Else that waits until it is known what came of it.
  ///   - limits: Of the call that says who was there before, where somebody was.
  func verdicts(
    waitingFor limit: Duration = .zero, isCancellable: Bool = false, _ limits: CallLimits = .none
  ) async -> Result<[Verdict], PostgreSQLError> {
    let outcome = isCancellable ? await pending.cancellableOutcome() : await pending.outcome(waitingFor: limit)
    switch kind {
    case .checked(let call): return outcome.map(call.verdicts)
    case .placed(let call):
      var unconfirmed: PostgreSQLError?
      switch outcome {
      case .success(let rows): if let verdicts = call.verdicts(rows) { return .success(verdicts) }
      // A call that has found a conflict, and has written nothing, waits for standbys too.
      case .failure(let error) where error.code == .unconfirmed: unconfirmed = error
      case .failure(let error): if !call.isConflict(error) { return .failure(error) }
      }
      // Others have written, or it was done before: for which, this says.
      let checked = await AppendCall(requests, mayBePlaced: false, limits, on: connection, queries).verdicts(
        waitingFor: limit, isCancellable: isCancellable && unconfirmed == nil)
      guard let unconfirmed else { return checked }
      // What is there may be what was not confirmed.
      guard case .success(let verdicts) = checked, !verdicts.allSatisfy(\.isDuplicate) else {
        return .failure(unconfirmed)
      }
      return checked
    }
  }
}
