internal import Logging
internal import PostgreSQL
internal import Synchronization

/// Group commit in the client: appends that arrive while others are in flight travel together, in one call, one round
/// trip and one fsync, and each caller gets its own verdict.
///
/// A caller who is alone appends on its own thread, and pays for no hop. Else a task on the lane's own thread drives the
/// lane for as long as something waits.
final class Appender: Sendable {
  private let pool: ConnectionPool
  private let queries: Queries
  private let queue: Mutex<AppendQueue>
  private let lanes: [Lane]
  /// How long a batch is tried again when the server is away, before its callers are told.
  private let patience: Duration
  private let logger: Logger
  /// Called when a connection is lost with appends under way.
  private let onLoss: @Sendable () -> Void
  /// Called for each append that the server has decided on, before its caller is told.
  private let onVerdict: @Sendable (SealedAppend, Verdict) -> Void
  /// Called after each commit.
  private let onCommit: @Sendable (Connection) -> Void

  /// A connection that is kept, and used by one task at a time.
  private final class Lane: Sendable {
    let lease = Mutex<ConnectionPool.Lease?>(nil)
    let thread = LaneThread()
  }

  init(
    pool: ConnectionPool, queries: Queries, limits: AppendQueue.Limits, patience: Duration, logger: Logger,
    onLoss: @escaping @Sendable () -> Void,
    onVerdict: @escaping @Sendable (SealedAppend, Verdict) -> Void,
    onCommit: @escaping @Sendable (Connection) -> Void
  ) {
    self.pool = pool
    self.queries = queries
    self.patience = patience
    self.logger = logger
    self.onLoss = onLoss
    self.onVerdict = onVerdict
    self.onCommit = onCommit
    queue = Mutex(AppendQueue(limits))
    lanes = (0..<max(1, limits.lanes)).map { _ in Lane() }
  }

  /// Appends; returns when the server has committed or refused.
  ///
  /// Cancellation takes an append that still waits out of the queue. One that was sent is waited for: it carries the
  /// work of others too, and its outcome is moments away.
  func append(_ parts: [SealedAppend]) async -> Result<[Verdict], AppendError> {
    let request = AppendRequest(parts)
    if Task.isCancelled { return .failure(.cancelled) }
    let (paused, batch) = queue.withLock { queue in (queue.enqueue(request), queue.takeBatch()) }
    if let paused { lanes[paused].thread.endPause() }
    if let batch {
      if batch.isAlone {
        let start = ContinuousClock.now
        let outcomes = await run(batch, waitingFor: Self.waitOfLoneCaller)
        let duration = start.duration(to: .now)
        let following = queue.withLock { queue in
          if duration >= Self.waitOfLoneCaller { queue.waitedInVain() }
          // No pause: there is nobody else to come back.
          _ = queue.finish(batch, after: duration)
          return Self.takeBatches(&queue)
        }
        for next in following { drive(next) }
        return outcomes[0]
      } else {
        drive(batch)
      }
    }
    return await withTaskCancellationHandler {
      await request.outcome()
    } onCancel: {
      if queue.withLock({ $0.withdraw(request) }) { request.settle(.failure(.cancelled)) }
    }
  }

  /// A lone caller waits so long for the server on its own thread, one of the pool that all tasks share; then the
  /// reactor takes over. Where that is too short, the next callers do not even try.
  private static let waitOfLoneCaller = Duration.milliseconds(1)
  private static let waitOfLane = Duration.seconds(3600)

  /// Drives a lane until nothing waits for it.
  private func drive(_ first: AppendQueue.Batch) {
    Task(executorPreference: lanes[first.lane].thread) {
      var batch = first
      while true {
        let start = ContinuousClock.now
        let outcomes = await self.run(batch, waitingFor: Self.waitOfLane)
        let duration = start.duration(to: .now)
        // Before they are told: a caller who is alone is to find the lane free.
        var (pause, following) = self.queue.withLock { queue in
          (queue.finish(batch, after: duration), Self.takeBatches(&queue))
        }
        for (request, outcome) in zip(batch.requests, outcomes) { request.settle(outcome) }
        if let pause {
          self.lanes[batch.lane].thread.pause(for: pause) { self.queue.withLock { $0.hasGathered } }
          following = self.queue.withLock { queue in
            queue.gathered()
            return Self.takeBatches(&queue)
          }
        }
        // Each on its own lane's thread: this one is busy with its own.
        for next in following where next.lane != batch.lane { self.drive(next) }
        guard let own = following.first(where: { $0.lane == batch.lane }) else { return }
        batch = own
      }
    }
  }

  /// What can go now that a batch is done. Both its lane and its streams are free again, so it may be several.
  private static func takeBatches(_ queue: inout AppendQueue) -> [AppendQueue.Batch] {
    var batches: [AppendQueue.Batch] = []
    while let batch = queue.takeBatch() { batches.append(batch) }
    return batches
  }

  /// The outcome of each of its requests.
  private func run(_ batch: AppendQueue.Batch, waitingFor limit: Duration) async -> [AppendRequest.Outcome] {
    await run(batch.requests, on: lanes[batch.lane], waitingFor: limit)
  }

  private func run(
    _ requests: [AppendRequest], on lane: Lane, waitingFor limit: Duration
  ) async -> [AppendRequest.Outcome] {
    switch await attempt(requests, on: lane, waitingFor: limit) {
    case .success((let verdicts, let connection)):
      var outcomes: [AppendRequest.Outcome] = []
      outcomes.reserveCapacity(requests.count)
      var next = 0
      for request in requests {
        for (index, part) in request.parts.enumerated() { onVerdict(part, verdicts[next + index]) }
        outcomes.append(.success(Array(verdicts[next..<next + request.parts.count])))
        next += request.parts.count
      }
      onCommit(connection)
      return outcomes
    case .failure(.database(let error)) where requests.count > 1 && error.code == .server:
      // Something about one of them; alone, it fails alone.
      var outcomes: [AppendRequest.Outcome] = []
      for request in requests { outcomes += await run([request], on: lane, waitingFor: limit) }
      return outcomes
    case .failure(let error): return requests.map { _ in .failure(error) }
    }
  }

  /// Sends them until they have an outcome. Sending them again is safe: the server recognises events that are there.
  private func attempt(
    _ requests: [AppendRequest], on lane: Lane, waitingFor limit: Duration
  ) async -> Result<([Verdict], Connection), AppendError> {
    let start = ContinuousClock.now
    var pause = Duration.milliseconds(20)
    var wasSent = false
    while true {
      let error: PostgreSQLError
      switch await connection(of: lane) {
      case .success(let connection):
        switch await AppendCall.run(
          requests, mayBePlaced: !wasSent, on: connection, queries, waitingFor: limit)
        {
        case .success(let verdicts): return .success((verdicts, connection))
        case .failure(let failure):
          error = failure
          if failure.code == .connectionLost {
            wasSent = true
            onLoss()
          }
        }
      case .failure(let failure): error = failure
      }
      // 40001, 40P01: rolled back because of others; the same call may succeed at once.
      let isRetryable = error.isUnavailable || error.sqlState == "40001" || error.sqlState == "40P01"
      guard isRetryable, start.duration(to: .now) + pause < patience else {
        if wasSent { return .failure(.outcomeUnknown(error)) }
        return .failure(error.isUnavailable || error.code == .closed ? .unavailable(error) : .database(error))
      }
      logger.warning("An append is tried again", metadata: ["error": "\(error)", "in": "\(pause)"])
      // Not cut short by the leader's own cancellation: it carries the work of others.
      await Self.sleep(pause)
      pause = min(pause * 2, .milliseconds(500))
    }
  }

  private func connection(of lane: Lane) async -> Result<Connection, PostgreSQLError> {
    if let lease = lane.lease.withLock({ $0 }), lease.connection.failure == nil { return .success(lease.connection) }
    lane.lease.withLock { $0 = nil }
    // In a task of its own, which the leader's cancellation does not reach.
    let result = await Task { [pool] in
      do throws(PostgreSQLError) {
        return Result<ConnectionPool.Lease, PostgreSQLError>.success(try await pool.lease())
      } catch {
        return .failure(error)
      }
    }.value
    if case .success(let lease) = result { lane.lease.withLock { $0 = lease } }
    return result.map(\.connection)
  }

  private static func sleep(_ duration: Duration) async {
    await Task { try? await Task.sleep(for: duration) }.value
  }

  /// Waits until no append is under way or waiting, then gives the connections back.
  func drain() async {
    while !queue.withLock({ $0.isIdle }) { await Self.sleep(.milliseconds(5)) }
    for lane in lanes { lane.lease.withLock { $0 = nil } }
  }
}
