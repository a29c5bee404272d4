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

  private struct State {
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
    var failuresInARow = 0
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
  private let state: Mutex<State>
  private let isWaking = Atomic<Bool>(false)
  private let presence: Presence
  /// To be asked for at once …
  private let beat = Hints()
  /// … and here.
  private let beats = Hints()
  let meter = Meter()

  private var log: PostgreSQLEventLog { groups.log }
  private var queries: OutboxQueries { groups.queries }

  init(_ groups: ConsumerGroups, _ group: String, _ options: GroupConsumer.Options) {
    self.groups = groups
    self.options = options
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

  private func wake(at time: Int64) {
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
  private func keepAlive() async throws {
    while !Task.isCancelled {
      let seen = beat.count
      try await patiently {
        let found = try await self.heartbeat()
        self.state.withLock { $0.beat = .some(found) }
        self.beats.hint()
      }
      await beat.wait(after: seen, atMost: options.heartbeat * Double.random(in: 0.9...1.1))
    }
  }

  /// Tries again while the server is away.
  private func patiently(_ body: () async throws -> Void) async throws {
    var pause = Duration.milliseconds(100)
    while true {
      do {
        return try await body()
      } catch {
        guard Outage.isMeant(by: error) else { throw error }
        options.logger.warning("A consumer cannot reach the database", metadata: ["error": "\(error)"])
        try await Task.sleep(for: pause)
        pause = min(pause * 2, .seconds(1))
      }
    }
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

  private func join() async throws {
    while true {
      do {
        let info = try await groups.status(of: state.withLock { $0.group.name })
        let id = UUID()
        let held = await presence.hold()
        try await log.pool.execute(
          queries.join, Parameters(id, info.number, Presence.process, held, options.leaseMilliseconds))
        state.withLock { state in
          state.id = id
          state.groupID = info.number
          state.group = info.group
          state.revision = info.revision
          state.isPaused = info.pausedAt != nil
          state.hasStopped = info.failure != nil
        }
        return
      } catch {
        guard Outage.isMeant(by: error) else { throw error }
        try await Task.sleep(for: .milliseconds(500))
      }
    }
  }

  private struct Heartbeat {
    let revision: Int64
    let isPaused: Bool
    let hasStopped: Bool
    let own: [Int64: Int64]
    let ownShards: Int
    let others: [(member: UUID, shards: Int)]
    let freeShards: Int
  }

  private func heartbeat() async throws -> Heartbeat? {
    let began = CursorRun.now
    let held = await presence.hold()
    let id = state.withLock { $0.id }
    let rows = try await presence.execute(
      queries.heartbeat, Parameters(id, options.leaseMilliseconds, held, statusText), timeout: options.lease,
      orOn: log.pool)
    guard !rows.isEmpty else { return nil }
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

  private var statusText: String {
    let runs = state.withLock { $0.runs }
    var status = meter.status()
    for figures in runs.map(\.figures) {
      status.inFlight += figures.inFlight
      status.waiting += figures.waiting
      status.keysBehind += figures.keysBehind
    }
    status.isBreakerOpen = state.withLock { CursorRun.now < $0.breakerOpenUntil }
    return status.json
  }

  private func look(
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

  private func takeRuns(_ isOver: (CursorRun) -> Bool) -> [CursorRun] {
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
  private func lookAgain() async throws {
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

  private func throwGroupFailure() async throws {
    if let failure = try await groups.status(of: group.name).failure {
      throw OutboxError.stopped(group: group.name, failure)
    }
  }

  private func startRuns(
    _ own: some Sequence<Int64>, _ start: (@escaping @Sendable () async throws -> Void) -> Void
  ) async throws {
    let (id, groupID, group, busy) = state.withLock { state in
      let now = CursorRun.now
      state.former.removeAll { $0.run.figures.inFlight == 0 || $0.until < now }
      let busy = Set(state.runs.map(\.claim.cursor) + state.former.map(\.run.claim.cursor))
      return (state.id, state.groupID, state.group, busy)
    }
    let idle = own.filter { !busy.contains($0) }
    guard !idle.isEmpty else { return }
    let rows = try await log.pool.execute(queries.begin, Parameters(BinaryArray(idle), id))
    let claims = rows.indices.map { row in
      CursorRun.Claim(
        cursor: rows.int64(row, 0), epoch: rows.int64(row, 1), shards: ShardSet(bits: rows.bytes(row, 2).dropFirst(4)),
        place: CursorPlace(
          position: rows.int64(row, 3), open: rows.isNull(row, 4) ? [] : OpenPositions.decode(rows.bytes(row, 4)),
          floors: rows.isNull(row, 5) ? [] : rows.int64Array(row, 5)), row: rows.text(row, 6))
    }
    for claim in try await joined(claims, group) {
      let run = CursorRun(
        claim, group, groupID, log, queries, startable: startable, clock: clock, window: options.window)
      let isOn = state.withLock { state in
        guard !state.isLeaving else { return false }
        state.runs.append(run)
        state.shards += claim.shards.count
        return true
      }
      guard isOn else { return }
      start {
        // Whatever it ended by, the next look finds out what is to be done.
        defer { self.beat.hint() }
        try await run.run()
      }
    }
  }

  /// Cursors that are taken over together, and are near each other, begin as one: many would come to be, where members come and
  /// go all the time, each with a reader of its own.
  private func joined(_ claims: [CursorRun.Claim], _ group: ConsumerGroup) async throws -> [CursorRun.Claim] {
    guard claims.count > 1 else { return claims }
    var own: [CursorRun.Claim] = []
    for claim in claims { own.append(try await withoutOthers(claim, group)) }
    var joined: [CursorRun.Claim] = []
    for claim in own.sorted(by: { $0.place.position < $1.place.position }) {
      guard let last = joined.last, claim.place.position - last.place.position < Self.near else {
        joined.append(claim)
        continue
      }
      joined[joined.count - 1] = try await merge(last, claim)
    }
    return joined
  }

  /// Without what is open of shards that are another cursor's by now: it may be done there.
  private func withoutOthers(_ claim: CursorRun.Claim, _ group: ConsumerGroup) async throws -> CursorRun.Claim {
    guard !claim.place.open.isEmpty else { return claim }
    let events = try await log.events(at: claim.place.open.map { Position($0) })
    let open = events.filter { claim.shards.contains(group.key.key(of: $0).shard) }.map(\.position.rawValue)
    return CursorRun.Claim(
      cursor: claim.cursor, epoch: claim.epoch, shards: claim.shards, place: claim.place.restricted(to: open),
      row: claim.row)
  }

  /// Of neither anything may be in flight.
  private func merge(_ one: CursorRun.Claim, _ other: CursorRun.Claim) async throws -> CursorRun.Claim {
    let place = one.place.merged(with: other.place, own: one.shards, others: other.shards)
    try await log.pool.execute(
      queries.merge,
      Parameters(
        one.cursor, one.epoch, other.cursor, other.epoch, place.position,
        place.open.isEmpty ? nil : Bytea(OpenPositions.encode(place.open)),
        place.floors.isEmpty ? nil : BinaryArray(place.floors)))
    // Where its row is now, its first move finds out.
    return CursorRun.Claim(
      cursor: one.cursor, epoch: max(one.epoch, other.epoch) + 1, shards: one.shards.union(other.shards), place: place,
      row: "(0,0)")
  }

  // MARK: Sharing

  /// Every member wants as many shards as the others.
  private func rebalance(_ found: Heartbeat) async throws {
    let members = found.others.count + 1
    let (least, most) = (256 / members, (256 + members - 1) / members)
    if found.freeShards > 0, found.ownShards < most {
      let id = state.withLock { $0.id }
      let got = try await log.pool.execute(queries.claim, Parameters(id, Int32(most))).int32(0, 0)
      if got > 0 { beat.hint() }
      return
    }
    if found.ownShards > most || (found.ownShards > least && found.others.contains { $0.shards < least }) {
      guard let poorest = found.others.min(by: { $0.shards < $1.shards }), poorest.shards < least else { return }
      try await give(min(found.ownShards - least, least - poorest.shards), to: poorest.member)
      return
    }
    try await mergeIfNear()
  }

  /// Hands some shards over: those of which nothing is in flight, or soon nothing.
  private func give(_ count: Int, to member: UUID) async throws {
    guard let run = state.withLock({ $0.runs.filter(\.isRunning).max { $0.shards.count < $1.shards.count } }) else {
      return
    }
    let leaving = ShardSet(run.shards.shards.prefix(count))
    guard !leaving.isEmpty else { return }
    try await run.handOver(leaving, within: options.handOverPatience) { [log, queries] given in
      try await log.pool.execute(
        queries.split, Parameters(run.claim.cursor, run.claim.epoch, given, member))
    }
  }

  /// Two cursors cost twice the reading. Where they are close they are made one.
  private func mergeIfNear() async throws {
    let runs = state.withLock { $0.runs.filter(\.isRunning) }.sorted { $0.place.position < $1.place.position }
    guard runs.count > 1 else { return }
    for (one, other) in zip(runs, runs.dropFirst())
    where other.place.position - one.place.position < Self.near {
      guard await one.rest(within: .milliseconds(100)) else { return }
      guard await other.rest(within: .milliseconds(100)) else { return one.letGo(.all) }
      one.end(.stopping)
      other.end(.stopping)
      guard await one.ends(within: .seconds(2)), await other.ends(within: .seconds(2)) else { return }
      // Where one did not end in order, both begin again with what is written.
      guard one.isWritten, other.isWritten else { return }
      _ = takeRuns { $0 === one || $0 === other }
      _ = try await merge(one.current, other.current)
      self.beat.hint()
      return
    }
  }

  /// Positions.
  private static let near: Int64 = 2_000

  // MARK: Failing

  /// What ends it: the first such error is thrown at the end.
  func failed(_ error: any Error) {
    switch error {
    case is CancellationError, ReadError.cancelled: return
    case let error as PostgreSQLError where error.code == .cancelled: return
    default: break
    }
    state.withLock { if $0.failure == nil { $0.failure = error } }
    leave()
  }

  func throwFailure() throws {
    if let failure = state.withLock({ $0.failure }) { throw failure }
  }

  var isLeaving: Bool { state.withLock { $0.isLeaving } }
  var allRunsHaveEnded: Bool { state.withLock { $0.runs.allSatisfy(\.hasEnded) } }

  /// Told of each event, for the breaker.
  func handled(well isWell: Bool) {
    guard let breaker = group.policy.breaker else { return }
    let isOpened = state.withLock { state -> Bool in
      if isWell {
        state.failuresInARow = 0
        return false
      }
      state.failuresInARow += 1
      guard state.failuresInARow >= breaker.failures else { return false }
      // The next failure opens it again at once.
      state.failuresInARow = breaker.failures - 1
      state.breakerOpenUntil = CursorRun.now + Int64(breaker.pause * 1e9)
      return true
    }
    guard isOpened else { return }
    options.logger.warning(
      "A consumer rests: its handlers fail one after the other",
      metadata: ["group": "\(group.name)", "seconds": "\(breaker.pause)"])
    Task { [startable] in
      try? await Task.sleep(for: .seconds(breaker.pause))
      startable.fire()
    }
  }

  /// Whether an event has waited for too long; then nobody handles it.
  func hasExpired(_ entry: Entry, _ started: Started) async -> Bool {
    let policy = started.run.group.policy
    guard let expiry = policy.expiry, !entry.isSingle, let event = entry.event,
      clock.now.timeIntervalSince(event.recordedAt) - policy.delay > expiry
    else { return false }
    meter.expired()
    if let note = options.onExpiry, let delivery = started.delivery(of: entry, nil) { await note(delivery) }
    return true
  }

  /// Decides, by the group's policy, what becomes of an event.
  func outcome(of result: Result<Disposition, any Error>, _ entry: Entry, _ run: CursorRun) async -> Outcome {
    let disposition: Disposition
    switch result {
    case .success(let said): disposition = said
    case .failure(let failure as DeliveryFailure): disposition = failure.disposition
    case .failure where Task.isCancelled: return .postponed(.zero)
    case .failure(let error): disposition = .retry(reason: Self.words(error))
    }
    let policy = run.group.policy
    switch disposition {
    case .ack, .skip:
      meter.handled()
      handled(well: true)
      return .done
    case .throttle(let seconds): return .postponed(.seconds(max(0.001, Self.sane(seconds))))
    case .park(let reason):
      // The event's fault, not that of what its handler needs.
      handled(well: true)
      return parked(reason, entry, policy, run)
    case .stop(let reason):
      await stopGroup(at: entry, reason)
      return .postponed(.zero)
    case .retry(let after, let reason):
      meter.failed()
      handled(well: false)
      let age = entry.firstFailed.map { Double(CursorRun.now - $0) / 1e9 } ?? 0
      var random = SystemRandomNumberGenerator()
      guard let delay = policy.retry.delay(after: entry.attempts + 1, age: age, &random) else {
        if policy.afterLastRetry == .stop {
          await stopGroup(at: entry, "tried \(entry.attempts + 1) times, at last: \(reason)")
          return .postponed(.zero)
        }
        return parked(reason, entry, policy, run)
      }
      return .retry(after: .seconds(Self.sane(after ?? delay)), problem: Self.sane(reason))
    }
  }

  private func parked(_ reason: String, _ entry: Entry, _ policy: GroupPolicy, _ run: CursorRun) -> Outcome {
    meter.parked()
    options.logger.error(
      "A consumer group gives an event up",
      metadata: ["group": "\(run.group.name)", "position": "\(entry.position)", "problem": "\(reason)"])
    return .parked(
      problem: Self.sane(reason), fingerprint: Fingerprint.of(reason, type: entry.event?.type ?? ""),
      holdsKey: policy.afterLastRetry == .parkAndHold)
  }

  /// Seconds as a handler may say them: no more than a year.
  static func sane(_ seconds: Double) -> Double { seconds.isNaN ? 0 : min(max(0, seconds), 31_622_400) }

  /// As PostgreSQL takes it: it has no U+0000.
  private static func sane(_ text: String) -> String { String(text.prefix(2_000)).replacing("\0", with: "\u{FFFD}") }

  /// What may be written down of an error of a handler: what its author says of it. A decoder's errors, and those that say
  /// nothing, would tell values.
  private static func words(_ error: any Error) -> String {
    switch error {
    case is DecodingError, is EncodingError: "\(type(of: error))"
    case let error as PostgreSQLError where !error.quotesNoValue: "SQLSTATE \(error.sqlState ?? "")"
    case let error as any CustomStringConvertible: error.description
    default: "\(type(of: error))"
    }
  }

  /// Stops the group: what is wrong is no event's fault.
  private func stopGroup(at entry: Entry, _ problem: String) async {
    guard let event = entry.event else { return }
    let failure = GroupFailure(
      position: event.position, stream: event.stream.description, version: event.version, type: event.type,
      problem: Self.sane(problem), consumer: Presence.process)
    let id = state.withLock { state in
      state.hasStopped = true
      return state.groupID
    }
    options.logger.error("A consumer group stops", metadata: ["group": "\(group.name)", "failure": "\(failure)"])
    // Where that cannot be written now, whoever takes the event next meets it again.
    _ = try? await log.pool.execute(queries.stop, Parameters(id, failure.json))
    beat.hint()
  }
}
