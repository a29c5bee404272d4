internal import EventStore
internal import FoundationEssentials
internal import Logging
internal import PostgreSQL
internal import Synchronization

/// This process, as a member of a group: it keeps its lease, takes its share of the shards, and gives away what is too much.
final class Member: Sendable {
  let groups: ConsumerGroups
  let options: GroupConsumer.Options
  let startable = Signal()
  let clock = ServerClock()

  struct State {
    var id = UUID()
    var groupID: Int32 = 0
    var group: ConsumerGroup
    var revision: Int64 = 0
    var isPaused = false
    var hasStopped = false
    var runs: [CursorRun] = []
    var next = 0
    /// Nothing may start after this moment, unless the lease has been prolonged.
    var validUntil: Int64 = 0
    var breakerOpenUntil: Int64 = 0
    var isLeaving = false
    /// Owned, at the last look.
    var shards = 0
    /// With a rate: when the next event may start.
    var nextStart: Int64 = 0
    var failure: (any Error)?
    /// What the last heartbeat said, until it was looked at; within: no member any more.
    var beat: Heartbeat??
    /// Runs that have ended while handlers have something of theirs.
    var former: [(run: CursorRun, until: Int64)] = []
  }
  let state: Mutex<State>
  /// Of handlers, for the breaker.
  let failuresInARow = Atomic<Int>(0)
  let isWaking = Atomic<Bool>(false)
  let presence: Presence
  /// To be asked for at once …
  let beat = Hints()
  /// … and here.
  let beats = Hints()
  let meter = Meter()
  /// Of handlers in transactions.
  let refused = RefusedCommits()
  /// `nil`: as many as there are workers.
  let slots: Slots?

  var log: PostgreSQLEventLog { groups.log }
  var queries: OutboxQueries { groups.queries }

  init(_ groups: ConsumerGroups, _ group: String, _ options: GroupConsumer.Options, _ slots: Slots?) {
    self.groups = groups
    self.options = options
    self.slots = slots
    state = Mutex(State(group: ConsumerGroup(group)))
    presence = Presence(groups.log.configuration.connection, lock: groups.queries.presenceLock)
  }

  var group: ConsumerGroup { state.withLock { $0.group } }

  // MARK: Giving out

  /// What may start next.
  struct Started: Sendable {
    let run: CursorRun
    let flight: Flight

    func delivery(of entry: Entry, _ call: TimedCall?) -> Delivery? {
      entry.event.map { event in
        Delivery(
          event: event, group: run.group.name, key: CursorRules.key(of: flight.key), attempt: entry.attempts + 1,
          cause: entry.reason.flatMap { Delivery.Cause(rawValue: $0.rawValue) }, epoch: run.claim.epoch, call: call)
      }
    }
  }

  /// - Parameter run: Only of this one.
  func start(upTo count: Int = 1, of one: CursorRun? = nil) -> Started? {
    guard let slots else { return startAny(upTo: count, of: one) }
    guard slots.take() else { return nil }
    if let started = startAny(upTo: count, of: one) { return started }
    slots.putBack()
    return nil
  }

  private func startAny(upTo count: Int, of one: CursorRun?) -> Started? {
    let (runs, first, interval) = state.withLock { state -> ([CursorRun], Int, Int64) in
      guard !state.runs.isEmpty, !state.isPaused, !state.hasStopped, !state.isLeaving else { return ([], 0, 0) }
      let now = CursorRun.now
      guard now < state.validUntil, now >= state.breakerOpenUntil else { return ([], 0, 0) }
      // Its share of what the group may do in a second.
      let interval = state.group.policy.rate.map { Int64(1e9 / $0 * 256 / Double(max(1, state.shards))) } ?? 0
      if interval > 0, state.nextStart > now {
        wake(at: state.nextStart)
        return ([], 0, 0)
      }
      state.next &+= 1
      return (one.map { [$0] } ?? state.runs, state.next % state.runs.count, interval)
    }
    if !runs.isEmpty, presence.isCut {
      // What it owns may be another's in a moment.
      beat.hint()
      return nil
    }
    for index in runs.indices {
      let run = runs[(first + index) % runs.count]
      guard let flight = run.start(upTo: interval > 0 ? 1 : count) else { continue }
      if interval > 0 {
        let now = CursorRun.now
        // What was not used up to now is not kept, but for a little.
        state.withLock { $0.nextStart = max($0.nextStart, now - 5 * interval) + interval }
      }
      return Started(run: run, flight: flight)
    }
    return nil
  }

  func wake(at time: Int64) {
    guard !isWaking.exchange(true, ordering: .relaxed) else { return }
    Task {
      try? await Task.sleep(for: .nanoseconds(max(0, time - CursorRun.now)))
      isWaking.store(false, ordering: .relaxed)
      startable.fire()
    }
  }

  /// Waits for something to start. `nil`: it is over.
  func next(upTo count: Int = 1) async -> Started? {
    while !Task.isCancelled {
      let seen = startable.count
      if let started = start(upTo: count) {
        // Perhaps there is more: another one finds out.
        startable.fire()
        return started
      }
      if state.withLock({ $0.isLeaving }) { return nil }
      await startable.wait(after: seen)
    }
    return nil
  }

  // MARK: Being a member

  /// Joins the group and stays until the task is cancelled, or until it is told to leave.
  ///
  /// - Parameter start: Starts a task that lives as long as the membership.
  /// - Throws: ``OutboxError``: `notFound`, `stopped` where the group does and ``GroupConsumer/Options/endsWhenStopped`` is set.
  func stay(start: (@escaping @Sendable () async throws -> Void) -> Void) async throws {
    try await join()
    // By itself: whatever is handed over, merged or finished here, the lease is kept.
    start { try await self.keepAlive() }
    while !Task.isCancelled, !isLeaving {
      let seen = beats.count
      if let beat = state.withLock({ $0.beat.take() }) {
        try await patiently { try await self.look(beat, start: start) }
        continue
      }
      await beats.wait(after: seen, atMost: .seconds(1))
    }
  }

  /// Until cancelled: also while it leaves, as long as handlers have something.
  func keepAlive() async throws {
    while !Task.isCancelled {
      let seen = beat.count
      try await patiently {
        let id = self.state.withLock { $0.id }
        let found = try await self.heartbeat(of: id)
        // It may have joined again meanwhile: what was said of the one that it was is over.
        self.state.withLock { if $0.id == id { $0.beat = .some(found) } }
        self.beats.hint()
      }
      await beat.wait(after: seen, atMost: options.heartbeat * Double.random(in: 0.9...1.1))
    }
  }

  func patiently<R>(_ body: () async throws -> R) async throws -> R {
    try await Outage.waitOut(
      told: { error in
        options.logger.warning("A consumer cannot reach the database", metadata: ["error": "\(error)"])
      }, body)
  }

  /// Starts nothing more, and lets what is under way finish.
  func leave() {
    let runs = state.withLock { state in
      state.isLeaving = true
      return state.runs
    }
    for run in runs { run.end(.stopping) }
    beat.hint()
    startable.end()
  }

  /// Gives back what is owned, at once: after the runs have ended.
  func giveBack() async {
    let (id, runs) = state.withLock { ($0.id, $0.runs) }
    // Whatever has become of this task: or others would have to wait for the lease to end, and what is done would come again.
    await Task {
      for run in runs { await run.writeLast() }
      _ = try? await log.pool.execute(queries.leave, Parameters(id))
      await presence.end()
    }.value
  }

  func join() async throws {
    try await patiently {
      let info = try await groups.status(of: group.name)
      let id = UUID()
      let held = await presence.hold()
      try await log.pool.execute(
        queries.join, Parameters(id, info.number, Presence.process, held, options.leaseMilliseconds))
      await presence.wasTold(held)
      state.withLock { state in
        state.id = id
        state.beat = nil
        state.groupID = info.number
        state.group = info.group
        state.revision = info.revision
        state.isPaused = info.pausedAt != nil
        state.hasStopped = info.failure != nil
      }
    }
  }

  struct Heartbeat {
    let revision: Int64
    let isPaused: Bool
    let hasStopped: Bool
    let own: [Int64: Int64]
    let ownShards: Int
    let others: [(member: UUID, shards: Int)]
    let freeShards: Int
  }

  func heartbeat(of id: UUID) async throws -> Heartbeat? {
    let began = CursorRun.now
    let held = await presence.hold()
    let rows = try await presence.execute(
      queries.heartbeat, Parameters(id, options.leaseMilliseconds, held, statusText), timeout: options.lease,
      orOn: log.pool)
    guard !rows.isEmpty else { return nil }
    await presence.wasTold(held)
    clock.set(rows.date(0, 9), between: began, and: CursorRun.now)
    // From before it was asked for: the server's lease ends later than what is counted here.
    state.withLock { $0.validUntil = began + options.lease.nanoseconds * 9 / 10 }
    let (cursors, epochs) = (rows.int64Array(0, 3), rows.int64Array(0, 4))
    return Heartbeat(
      revision: rows.int64(0, 0), isPaused: rows.bool(0, 1), hasStopped: rows.bool(0, 2),
      own: Dictionary(zip(cursors, epochs), uniquingKeysWith: { $1 }), ownShards: Int(rows.int32(0, 5)),
      others: zip(rows.textArray(0, 6), rows.int64Array(0, 7)).compactMap { name, shards in
        UUID(uuidString: name).map { ($0, Int(shards)) }
      }, freeShards: Int(rows.int32(0, 8)))
  }

  var statusText: String {
    let runs = state.withLock { $0.runs }
    var status = meter.status()
    for figures in runs.map(\.figures) {
      status.inFlight += figures.inFlight
      status.waiting += figures.waiting
      status.keysBehind += figures.keysBehind
    }
    status.concurrency = slots?.limit ?? options.concurrency
    status.isBreakerOpen = state.withLock { CursorRun.now < $0.breakerOpenUntil }
    return status.json
  }

  func look(
    _ found: Heartbeat?, start: (@escaping @Sendable () async throws -> Void) -> Void
  ) async throws {
    guard let found else {
      // It was thought to be dead, and its cursors are others' by now; or the group is gone.
      options.logger.warning(
        "A consumer was given up by its group, and joins again", metadata: ["group": "\(group.name)"])
      for run in takeRuns({ _ in true }) { run.end(.lost) }
      try await join()
      return beat.hint()
    }
    for run in takeRuns({ found.own[$0.claim.cursor] != $0.claim.epoch || $0.hasEnded }) { run.end(.lost) }
    if found.revision != state.withLock({ $0.revision }) { try await lookAgain() }
    state.withLock { state in
      state.shards = found.ownShards
      state.isPaused = found.isPaused
      state.hasStopped = found.hasStopped
    }
    if found.hasStopped, options.endsWhenStopped { try await throwGroupFailure() }
    do {
      try await startRuns(found.own.keys, start)
      startable.fire()
      try await rebalance(found)
    } catch let error as PostgreSQLError where error.sqlState == "ESO01" {
      // Taken over at that moment: the next look finds out.
    }
  }

  func takeRuns(_ isOver: (CursorRun) -> Bool) -> [CursorRun] {
    state.withLock { state in
      let over = state.runs.filter(isOver)
      state.runs.removeAll(where: isOver)
      // Another member would wait no longer than the lease.
      let until = CursorRun.now + options.lease.nanoseconds
      state.former += over.filter { $0.figures.inFlight > 0 }.map { ($0, until) }
      return over
    }
  }

  /// Somebody has changed something about the group.
  func lookAgain() async throws {
    let info = try await groups.status(of: group.name)
    let (runs, isChanged) = state.withLock { state in
      let isChanged = state.group != info.group
      state.group = info.group
      return (state.runs, isChanged)
    }
    if isChanged {
      // They begin again where they are, with what is asked now.
      for run in runs { run.end(.stopping) }
    } else {
      var isDone = true
      for run in runs {
        let isLookedAt = try await run.lookAgain()
        isDone = isDone && isLookedAt
      }
      guard isDone else { return }
    }
    state.withLock { $0.revision = info.revision }
  }

  func throwGroupFailure() async throws {
    if let failure = try await groups.status(of: group.name).failure {
      throw OutboxError.stopped(group: group.name, failure)
    }
  }
}
