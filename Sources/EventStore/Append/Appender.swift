internal import Dispatch
internal import Logging
internal import PostgreSQL
internal import Synchronization

/// Group commit in the client: appends that arrive while others are in flight travel together, in one call, one round
/// trip and one fsync, and each caller gets its own verdict.
///
/// A caller who is alone appends on its own thread, and pays for no hop. Else a task on the lane's own thread drives the
/// lane for as long as something waits.
final class Appender: Sendable {
  let pool: ConnectionPool
  private let queries: Queries
  let queue: Mutex<AppendQueue>
  private let lanes: [Lane]
  let held: Mutex<HeldAppends>
  /// Of calls with several appends.
  private let limits: CallLimits
  /// How long a batch is tried again when the server is away, before its callers are told.
  private let patience: Duration
  private let sealer: Sealer
  private let announcer: Announcer
  private let logger: Logger

  init(
    pool: ConnectionPool, queries: Queries, limits: AppendQueue.Limits, patience: Duration, sealer: Sealer,
    announcer: Announcer, logger: Logger
  ) {
    self.pool = pool
    self.queries = queries
    self.patience = patience
    self.sealer = sealer
    self.announcer = announcer
    self.logger = logger
    queue = Mutex(AppendQueue(limits))
    lanes = (0..<max(1, limits.lanes)).map { _ in Lane() }
    let configuration = pool.configuration
    let spare = (configuration.maximumConnections - lanes.count + 1) / 2
    let aside = HeldAppends(most: configuration.maximumConnections > 1 ? max(1, spare) : 0)
    self.limits =
      aside.isImpossible
      ? .none : CallLimits(lockTimeout: min(Self.lockTimeout, configuration.statementTimeout / 4))
    held = Mutex(aside)
  }

  /// Appends; returns when the server has committed or refused.
  ///
  /// Cancellation takes an append that still waits out of the queue, or ends it where it waits for somebody's transaction.
  /// Others that were sent are waited for: they carry the work of others too, and their outcome is moments away.
  func append(_ request: AppendRequest) async -> AppendRequest.Outcome {
    if Task.isCancelled { return .failure(.cancelled) }
    let taken = queue.withLock { queue -> (Int?, [AppendQueue.Batch])? in
      queue.isClosed ? nil : (queue.enqueue(request), Self.takeBatches(&queue))
    }
    guard let (gathered, batches) = taken else {
      return .failure(.unavailable(PostgreSQLError(.closed, "the log was closed")))
    }
    if let gathered {
      handOver(batches, to: gathered)
    } else if let batch = batches.first, batch.isAlone {
      // The only one: nobody is alone while another append waits.
      if let outcome = await runAlone(batch) { return outcome }
    } else {
      for batch in batches { drive(departure(of: batch)) }
    }
    return await withTaskCancellationHandler {
      await request.outcome()
    } onCancel: {
      withdraw(request)
    }
  }

  /// Its caller no longer wants it.
  private func withdraw(_ request: AppendRequest) {
    let (isOut, batches) = queue.withLock { queue in
      let isOut = queue.withdraw(request)
      return (isOut, isOut ? Self.takeBatches(&queue) : [])
    }
    for batch in batches { drive(departure(of: batch)) }
    if isOut { request.settle(.failure(.cancelled)) } else { request.cancel() }
  }

  /// A lone caller waits so long for the server on its own thread, one of the pool that all tasks share; then the
  /// reactor takes over. Where that is too short, the next callers do not even try.
  private static let waitOfLoneCaller = Duration.milliseconds(1)
  /// A lane waits so long on its own thread; then others no longer wait for its batch.
  private static let waitOfLane = Duration.milliseconds(100)

  /// Appends on the caller's own thread.
  ///
  /// - Returns: `nil` where that takes long: then the lane's thread waits for it.
  private func runAlone(_ batch: AppendQueue.Batch) async -> AppendRequest.Outcome? {
    var departure = departure(of: batch)
    let outcome: AppendRequest.Outcome?
    switch await progress(of: departure, waitingFor: Self.waitOfLoneCaller) {
    case .ended(let outcomes): outcome = outcomes[0]
    case .underWay(let call):
      queue.withLock { $0.waitedInVain() }
      departure.call = call
      drive(departure)
      return nil
    }
    let duration = departure.time.duration(to: .now)
    let following = queue.withLock { queue in
      if duration >= Self.waitOfLoneCaller { queue.waitedInVain() }
      // No pause: there is nobody else to come back.
      _ = queue.finish(batch, after: duration, except: outcome == nil ? batch.requests : [])
      return Self.takeBatches(&queue)
    }
    for next in following { drive(self.departure(of: next)) }
    lanes[batch.lane].end()
    if outcome == nil { setAside(batch.requests) }
    return outcome
  }

  /// Drives a lane until nothing waits for it.
  func drive(_ first: Departure) {
    let lane = first.batch.lane
    Task(executorPreference: lanes[lane].thread) {
      var next: Departure? = first
      while let departure = next {
        let requests = departure.batch.requests
        let outcomes: [AppendRequest.Outcome?]
        var aside: (unit: HeldAppends.Unit, lane: Lane, call: AppendCall)?
        switch await self.progress(of: departure, waitingFor: Self.waitOfLane) {
        case .ended(let ended): outcomes = ended
        case .underWay(let call) where call.isUnlimited:
          aside = (HeldAppends.Unit(requests: requests), self.lanes[lane].split(), call)
          outcomes = [nil]
        case .underWay(let call):
          outcomes = await self.run(requests, on: self.lanes[lane], waitingFor: Self.waitOfLane, self.limits, call)
        }
        let duration = departure.time.duration(to: .now)
        let held = zip(requests, outcomes).filter { $1 == nil }.map(\.0)
        // Before they are told: a caller who is alone is to find the lane free.
        let (pause, following) = self.queue.withLock { queue in
          (queue.finish(departure.batch, after: duration, except: held), Self.takeBatches(&queue))
        }
        for (request, outcome) in zip(requests, outcomes) { if let outcome { request.settle(outcome) } }
        if let aside { self.runAside(aside.unit, on: aside.lane, aside.call) } else { self.setAside(held) }
        next = if let pause { self.gather(on: lane, for: pause) } else { self.depart(following, from: lane) }
        self.lanes[lane].end()
      }
    }
  }

  /// What goes next on a lane; what goes on others is on its way.
  private func depart(_ batches: [AppendQueue.Batch], from lane: Int) -> Departure? {
    // Each on its own lane's thread: this one is busy with its own.
    for batch in batches where batch.lane != lane { drive(departure(of: batch)) }
    return batches.first { $0.lane == lane }.map(departure)
  }

  func departure(of batch: AppendQueue.Batch) -> Departure {
    lanes[batch.lane].begin()
    return Departure(batch)
  }

  /// Waits for callers to come back to a lane. The last of them has sent what goes next.
  private func gather(on lane: Int, for pause: Duration) -> Departure? {
    let isHanded = lanes[lane].waitToBeHanded(for: pause)
    if !isHanded, let following = queue.withLock({ $0.endGathering(of: lane) ? Self.takeBatches(&$0) : nil }) {
      return depart(following, from: lane)
    }
    // Where it was time, and the last of them had just come: in a moment.
    if !isHanded { _ = lanes[lane].waitToBeHanded() }
    return lanes[lane].takeHanded()
  }

  /// Sends what goes next on a lane that waits for callers, of whom this was the last: sooner than its thread, which
  /// wakes meanwhile.
  private func handOver(_ batches: [AppendQueue.Batch], to lane: Int) {
    var departure = depart(batches, from: lane)
    if let next = departure { departure?.call = callAtOnce(next) }
    lanes[lane].hand(departure)
  }

  private enum Progress {
    /// With the outcome of each request; `nil` where it is to go on aside.
    case ended([AppendRequest.Outcome?])
    /// It is by itself, and the server has not answered.
    case underWay(AppendCall)
  }

  /// - Parameter limit: How long to wait on the calling thread, and others for this batch.
  private func progress(of departure: Departure, waitingFor limit: Duration) async -> Progress {
    let batch = departure.batch
    let lane = lanes[batch.lane]
    let call = departure.call ?? callAtOnce(departure)
    if let call, let verdicts = call.verdicts(within: limit, onInput: { Self.wakeThreads(for: batch) }) {
      if call.isUnlimited { giveUpRoom() }
      return .ended(told(verdicts, of: call))
    }
    let others = queue.withLock { queue in
      queue.markOverdue(batch)
      return Self.takeBatches(&queue)
    }
    for other in others { drive(self.departure(of: other)) }
    if let call, call.isPending, batch.requests.count == 1 { return .underWay(call) }
    if let call, call.isUnlimited { giveUpRoom() }
    return .ended(await run(batch.requests, on: lane, waitingFor: limit, limits, call))
  }

  /// Wakes the threads that callers run on, while what these are to be told is read: they have slept since the callers'
  /// last appends, and a processor that has had nothing to do takes longer to wake than that.
  private static func wakeThreads(for batch: AppendQueue.Batch) {
    guard batch.isOnlyOne, !batch.isAlone else { return }
    // Each of these, once awake, wakes another where there is more to do.
    for _ in 0..<min(batch.requests.count, 2) { DispatchQueue.global().async {} }
  }

  /// What can go now that a batch is done. Both its lane and its streams are free again, so it may be several.
  static func takeBatches(_ queue: inout AppendQueue) -> [AppendQueue.Batch] {
    var batches: [AppendQueue.Batch] = []
    while let batch = queue.takeBatch() { batches.append(batch) }
    return batches
  }

  /// The outcome of each request; `nil` where a lock that it needs is held for longer than the limits say.
  ///
  /// - Parameter call: Their call, where it is under way.
  func run(
    _ requests: [AppendRequest], on lane: Lane, waitingFor limit: Duration, _ limits: CallLimits,
    _ call: AppendCall? = nil, isCancellable: Bool = false
  ) async -> [AppendRequest.Outcome?] {
    var outcomes = [AppendRequest.Outcome?](repeating: nil, count: requests.count)
    var call = call
    var limits = limits
    var heldStreams: Set<Int> = []
    var endOfDivision: ContinuousClock.Instant?
    /// The last one goes next.
    var parts = [Array(requests.indices)]
    while var part = parts.popLast() {
      // Appends to one stream keep their order.
      part.removeAll { requests[$0].parts.contains { heldStreams.contains($0.streamKey) } }
      guard let first = part.first else { continue }
      let tried = await attempt(
        part.map { requests[$0] }, on: lane, waitingFor: limit, limits, call, isCancellable: isCancellable)
      call = nil
      switch tried {
      case .success((let verdicts, let call)):
        for (index, outcome) in zip(part, told(verdicts, of: call)) { outcomes[index] = outcome }
      case .failure(.database(let error)) where limits.lockTimeout != nil && error.isLockTimeout:
        let stream = requests[first].parts[0].streamKey
        let end = endOfDivision ?? .now + Self.longestDivision
        endOfDivision = end
        // There are many: those that are left find out aside.
        if .now > end { return outcomes }
        // Which of them it is, is not said.
        if part.contains(where: { requests[$0].parts[0].streamKey != stream }) {
          limits.lockTimeout = Self.lockTimeoutOfPart
          parts += [Array(part[(part.count / 2)...]), Array(part[..<(part.count / 2)])]
        } else {
          heldStreams.formUnion(requests[first].parts.map(\.streamKey))
        }
      case .failure(.database(let error)) where part.count > 1 && error.code == .server:
        // Something about one of them; alone, it fails alone.
        if limits.lockTimeout != nil { limits.lockTimeout = Self.lockTimeoutOfPart }
        parts += part.reversed().map { [$0] }
      case .failure(let error): for index in part { outcomes[index] = .failure(error) }
      }
    }
    return outcomes
  }

  /// The outcome of each request, after those have been told who are to know: for the next batch of the same streams, too.
  private func told(_ verdicts: [Verdict], of call: AppendCall) -> [AppendRequest.Outcome] {
    var outcomes: [AppendRequest.Outcome] = []
    outcomes.reserveCapacity(call.requests.count)
    var next = 0
    for request in call.requests {
      let own = verdicts[next..<next + request.parts.count]
      for (part, verdict) in zip(request.parts, own) { sealer.learn(part, verdict, of: call) }
      outcomes.append(.success(own))
      next = own.endIndex
    }
    announcer.appended(on: call.connection)
    return outcomes
  }

  /// Sends them until they have an outcome. Sending them again is safe: the server recognises events that are there.
  private func attempt(
    _ requests: [AppendRequest], on lane: Lane, waitingFor limit: Duration, _ limits: CallLimits, _ call: AppendCall?,
    isCancellable: Bool
  ) async -> Result<([Verdict], AppendCall), AppendError> {
    // Of the first failure: a server that falls silent is found out only by the statement's time-out.
    var start: ContinuousClock.Instant?
    var pause = Duration.milliseconds(20)
    var sent = call
    /// Since when it is unknown whether they are there.
    var lost: PostgreSQLError?
    var limits = limits
    while true {
      let error: PostgreSQLError
      let next: Result<AppendCall, AppendError> =
        if let sent {
          .success(sent)
        } else {
          await self.call(requests, mayBePlaced: lost == nil, limits, on: lane, isCancellable: isCancellable)
        }
      switch next {
      case .success(let call):
        sent = nil
        switch await call.verdicts(waitingFor: limit, isCancellable: isCancellable, limits) {
        case .success(let verdicts): return .success((verdicts, call))
        case .failure(let failure):
          error = failure
          if failure.isOutcomeUnknown {
            lost = failure
            // What came of it is found out here, however long that takes.
            limits.lockTimeout = nil
          }
        }
      case .failure(.unavailable(let failure)), .failure(.database(let failure)): error = failure
      case .failure(let failure): return .failure(lost.map { .outcomeUnknown($0) } ?? failure)
      }
      // 40001, 40P01: rolled back because of others; the same call may succeed at once.
      let isRetryable = error.isUnavailable || error.sqlState == "40001" || error.sqlState == "40P01"
      let began = start ?? .now
      start = began
      let isGivenUp = isCancellable && Task.isCancelled
      guard isRetryable, !isGivenUp, began.duration(to: .now) + pause < patience else {
        if lost != nil { return .failure(.outcomeUnknown(error)) }
        if error.code == .cancelled { return .failure(.cancelled) }
        return .failure(error.isUnavailable || error.code == .closed ? .unavailable(error) : .database(error))
      }
      logger.warning("An append is tried again", metadata: ["error": "\(error)", "in": "\(pause)"])
      // Not cut short by the leader's own cancellation: it carries the work of others.
      await Self.sleep(pause)
      pause = min(pause * 2, .milliseconds(500))
    }
  }

  /// The call of a batch, sent where its lane has a connection, and it is sealed for that.
  private func callAtOnce(_ departure: Departure) -> AppendCall? {
    let requests = departure.batch.requests
    // Who is held up by himself goes aside as he is. (For a short call, setting the limit would be a part that counts.)
    let isLate = requests.count == 1 && requests[0].since.duration(to: departure.time) >= Self.longestQueue
    let isUnlimited = requests.count == 1 && !isLate && held.withLock { $0.reserve() }
    var limits = isUnlimited ? .none : limits
    // Of those that come one after the other because their stream was held, the last has waited for the longest already.
    if isLate, limits.lockTimeout != nil { limits.lockTimeout = Self.lockTimeoutOfPart }
    var call = callAtOnce(requests, mayBePlaced: true, limits, on: lanes[departure.batch.lane])
    if call == nil, isUnlimited { giveUpRoom() }
    call?.isUnlimited = isUnlimited
    return call
  }

  /// Their call, sent where the lane has a connection, and they are sealed for it.
  private func callAtOnce(
    _ requests: [AppendRequest], mayBePlaced: Bool, _ limits: CallLimits, on lane: Lane
  ) -> AppendCall? {
    guard let connection = lane.connection, requests.allSatisfy({ $0.newestConnection >= connection.serial }) else {
      return nil
    }
    return AppendCall(requests, mayBePlaced: mayBePlaced, limits, on: connection, queries)
  }

  private func call(
    _ requests: [AppendRequest], mayBePlaced: Bool, _ limits: CallLimits, on lane: Lane, isCancellable: Bool
  ) async -> Result<AppendCall, AppendError> {
    if let call = callAtOnce(requests, mayBePlaced: mayBePlaced, limits, on: lane) { return .success(call) }
    let prepare = { @Sendable [self] () async -> Result<AppendCall, AppendError> in
      do throws(AppendError) {
        let connection = try await connection(of: lane)
        let sealed = try await sealer.sealed(requests, for: connection)
        return .success(AppendCall(sealed, mayBePlaced: mayBePlaced, limits, on: connection, queries))
      } catch {
        return .failure(error)
      }
    }
    // In a task of its own, which the leader's cancellation does not reach.
    return isCancellable ? await prepare() : await Task { await prepare() }.value
  }

  /// The lane's connection, a new one where it was lost.
  private func connection(of lane: Lane) async throws(AppendError) -> Connection {
    if let connection = lane.connection { return connection }
    lane.use(nil)
    do throws(PostgreSQLError) {
      let lease = try await pool.lease()
      lane.use(lease)
      return lease.connection
    } catch {
      throw AppendError(error)
    }
  }

  private static func sleep(_ duration: Duration) async {
    await Task { try? await Task.sleep(for: duration) }.value
  }

  /// Takes no more appends, waits until none is under way or waiting, then gives the connections back.
  func drain() async {
    queue.withLock { $0.isClosed = true }
    while !queue.withLock({ $0.isIdle }) { await Self.sleep(.milliseconds(5)) }
    for lane in lanes { lane.use(nil) }
  }
}
