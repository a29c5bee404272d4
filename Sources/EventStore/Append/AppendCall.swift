internal import PostgreSQL

/// Appends several requests in one transaction, each with its own verdict.
enum AppendCall {
  /// - Parameters:
  ///   - mayBePlaced: `false`: what this process has seen of the streams is not to be relied on.
  ///   - inTransaction: Whether the connection is in a transaction, which a conflict must not end.
  ///   - limit: How long to wait on the calling thread.
  /// - Returns: A verdict for each part of each request, in order.
  static func run(
    _ requests: [AppendRequest], mayBePlaced: Bool = true, inTransaction: Bool = false, on connection: Connection,
    _ queries: Queries, waitingFor limit: Duration = .zero
  ) async -> Result<[Verdict], PostgreSQLError> {
    if mayBePlaced, requests.allSatisfy({ $0.parts.allSatisfy(\.isPlaced) }) {
      let appends = requests.count == 1 ? requests[0].parts : requests.flatMap(\.parts)
      let call = PlacedCall(appends, inTransaction: inTransaction)
      switch await call.send(on: connection, queries).outcome(waitingFor: limit) {
      case .success(let rows): if let verdicts = call.verdicts(rows) { return .success(verdicts) }
      case .failure(let error): if !call.isConflict(error) { return .failure(error) }
      }
    }
    let call = CheckedCall(requests)
    return await call.send(on: connection, queries).outcome(waitingFor: limit).map(call.verdicts)
  }
}
