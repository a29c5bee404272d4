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
  /// What one has that has waited in line for longer than it might.
  private static let leastTimeout = Duration.seconds(1)

  /// Lets requests go on by themselves. Their streams stay theirs.
  func setAside(_ requests: [AppendRequest]) {
    guard !requests.isEmpty else { return }
    held.withLock { $0.add(requests) }
    for request in requests { request.whenCancelled { [self] in withdrawFromLine(request) } }
    while let unit = held.withLock({ $0.start() }) { runAside(unit, on: Lane()) }
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
      while let unit = next {
        lane.begin()
        let outcomes = await outcomes(of: unit, on: lane, call)
        lane.end()
        call = nil
        release(unit.requests)
        for (request, outcome) in zip(unit.requests, outcomes) { request.settle(outcome) }
        next = held.withLock { $0.next() }
      }
      lane.use(nil)
    }
  }

  private func outcomes(
    of unit: HeldAppends.Unit, on lane: Lane, _ call: AppendCall?
  ) async -> [AppendRequest.Outcome] {
    let waited = unit.since.duration(to: .now)
    let limits = CallLimits(timeout: max(pool.configuration.statementTimeout - waited, Self.leastTimeout))
    // One that carries nobody else's work ends with its caller's task.
    let isCancellable = unit.requests.count == 1
    let task = Task {
      await run(unit.requests, on: lane, waitingFor: .zero, limits, call, isCancellable: isCancellable)
    }
    for request in unit.requests { request.whenCancelled { if isCancellable { task.cancel() } } }
    return await task.value.map { outcome in
      guard let outcome else { preconditionFailure("set aside again") }
      return outcome
    }
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
