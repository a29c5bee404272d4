internal import PostgreSQL
internal import Synchronization

/// Where somebody's open transaction holds what an append needs, the append goes on aside: its lane serves others, and what
/// travelled with it is told what came of it. One that travels by itself takes its connection along. Of several only some are
/// held up: so their call waits for a lock for a short time only, and is then divided to find which.
extension Appender {
  /// So long a call with several appends waits for a lock: longer than others' appends take.
  static let lockTimeout = Duration.milliseconds(200)
  /// So long a part of a call waits that has waited too long.
  static let lockTimeoutOfPart = Duration.milliseconds(20)
  /// So long at most a call is divided; what is left then goes aside.
  static let longestDivision = Duration.milliseconds(500)
  /// What has waited for longer in the queue is told when it has waited for as long as a statement may, and no connection's
  /// time-out says so.
  static let longestQueue = Duration.seconds(1)
  /// What one has that has waited for longer than it might.
  private static let leastTimeout = Duration.seconds(1)

  /// Lets requests go on by themselves. Their streams stay theirs.
  func setAside(_ requests: [AppendRequest]) {
    guard !requests.isEmpty else { return }
    enterLine(requests) { $0.add(requests) }
    while let unit = held.withLock({ $0.start() }) { runAside(unit, on: Lane()) }
  }

  /// What had a connection reserved has none any more.
  func giveUpRoom() {
    let unit = held.withLock { held in
      held.endReservation()
      return held.next()
    }
    if let unit { runAside(unit, on: Lane()) }
  }

  private func enterLine<R: Sendable>(_ requests: [AppendRequest], _ body: (inout HeldAppends) -> R) -> R {
    for request in requests { request.whenCancelled { [self] in withdrawFromLine(request) } }
    let result = held.withLock { body(&$0) }
    // Before it was there, perhaps.
    for request in requests where request.isCancelled { withdrawFromLine(request) }
    return result
  }

  private func withdrawFromLine(_ request: AppendRequest) {
    let (wasWaiting, isLast) = held.withLock { $0.withdraw(request) }
    guard wasWaiting else { return }
    if isLast { release([request]) }
    request.settle(.failure(.cancelled))
  }

  /// Waits for one unit after the other, on a connection that is theirs.
  ///
  /// - Parameter call: The first one's, where it is under way.
  func runAside(_ first: HeldAppends.Unit, on lane: Lane, _ call: AppendCall? = nil) {
    Task {
      var call = call
      var next: HeldAppends.Unit? = first
      while var unit = next {
        lane.begin()
        let outcomes = await outcomes(of: unit, on: lane, call)
        lane.end()
        if call != nil { held.withLock { $0.endReservation() } }
        call = nil
        let requests = unit.requests
        unit.requests = zip(requests, outcomes).filter { $1 == nil }.map(\.0)
        // They are of one stream, or one.
        if unit.requests.isEmpty { release(requests) }
        for (request, outcome) in zip(requests, outcomes) { if let outcome { request.settle(outcome) } }
        next =
          if unit.requests.isEmpty {
            held.withLock { $0.next() }
          } else {
            enterLine(unit.requests) { [unit] in $0.next(after: unit) }
          }
      }
      lane.use(nil)
    }
  }

  /// What came of one turn; `nil`: its lock is held still.
  private func outcomes(
    of unit: HeldAppends.Unit, on lane: Lane, _ call: AppendCall?
  ) async -> [AppendRequest.Outcome?] {
    let longest = pool.configuration.statementTimeout
    let now = ContinuousClock.now
    let left = unit.requests.map { longest - $0.since.duration(to: now) }
    let turn = held.withLock(\.turn)
    let most = max(left.max() ?? .zero, .milliseconds(1))
    let limits = CallLimits(timeout: max(most, Self.leastTimeout), lockTimeout: min(turn, most))
    // One that carries nobody else's work ends with its caller's task.
    let isCancellable = unit.requests.count == 1
    let task = Task {
      await run(unit.requests, on: lane, waitingFor: .zero, limits, call, isCancellable: isCancellable)
    }
    for request in unit.requests { request.whenCancelled { if isCancellable { task.cancel() } } }
    let outcomes = await task.value
    return unit.requests.indices.map { index in
      if let outcome = outcomes[index] { return outcome }
      if unit.requests[index].isCancelled { return .failure(.cancelled) }
      return left[index] <= turn ? .failure(.database(Self.timeout(after: longest))) : nil
    }
  }

  private static func timeout(after duration: Duration) -> PostgreSQLError {
    PostgreSQLError(.timeout, "another transaction held a lock that the append needs for \(duration)")
  }

  /// Others may have their streams now.
  private func release(_ requests: [AppendRequest]) {
    let following = queue.withLock { queue in
      for request in requests { queue.release(request) }
      return Self.takeBatches(&queue)
    }
    for batch in following { drive(departure(of: batch)) }
  }
}
