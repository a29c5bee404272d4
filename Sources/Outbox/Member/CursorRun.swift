internal import EventStore
internal import FoundationEssentials
internal import Logging
internal import PostgreSQL
internal import Synchronization

/// One cursor, as its owner: reads on, gives out what may start, and writes down how far it is.
final class CursorRun: Sendable {
  /// What a member needs to know of it from the database.
  struct Claim: Sendable {
    let cursor: Int64
    let epoch: Int64
    let shards: ShardSet
    let place: CursorPlace
    /// Where its row is.
    let row: String
  }

  let claim: Claim
  let group: ConsumerGroup
  let groupID: Int32
  let log: PostgreSQLEventLog
  let queries: OutboxQueries
  let state: Mutex<CursorState>
  let row: Mutex<String>
  /// Something may start.
  let startable: Signal
  let clock: ServerClock
  let logger: Logger
  /// There is something to write, to read or to wait for.
  let work = Hints()
  let room = Hints()
  let fate = Mutex(Fate.running)
  let idle = Atomic<Bool>(false)
  let ended = Atomic<Bool>(false)
  let restored = Atomic<Bool>(false)
  /// It ended in order, with everything written down.
  let endedWell = Atomic<Bool>(false)
  let handOver = Mutex<HandOver?>(nil)
  /// Held by who writes down what was taken from the state: one after the other.
  let books = AsyncLock()
  let finishing = Atomic<Bool>(false)

  struct HandOver {
    let shards: ShardSet
    let give: @Sendable (ShardSet) async throws -> Void
    let continuation: CheckedContinuation<Void, any Error>
  }

  enum Fate: Sendable {
    case running
    /// It is to end, once everything is written down.
    case stopping
    /// It is another's.
    case lost
  }

  /// Not more often than this its row is moved.
  static let pace = Duration.milliseconds(5)
  /// How long a full memory is waited for before keys are set aside that take most of it.
  static let patience = Duration.milliseconds(50)
  /// With the heartbeats, an idle member must not be seen in the server's load.
  static let idlePoll = Duration.milliseconds(1_500)

  init(
    _ claim: Claim, _ group: ConsumerGroup, _ groupID: Int32, _ log: PostgreSQLEventLog, _ queries: OutboxQueries,
    startable: Signal, clock: ServerClock, window: Int, logger: Logger
  ) {
    self.claim = claim
    self.group = group
    self.groupID = groupID
    self.log = log
    self.queries = queries
    self.startable = startable
    self.clock = clock
    self.logger = logger
    var limits = CursorState.Limits()
    limits.window = window
    // Made here and used behind the lock only.
    state = Mutex(
      CursorState(at: claim.place, shards: claim.shards, limits: limits, rules: Self.rules(group.policy, clock)))
    row = Mutex(claim.row)
  }

  static func rules(_ policy: GroupPolicy, _ clock: ServerClock) -> CursorRules {
    var rules = CursorRules()
    if let rate = policy.ratePerKey { rules.keyInterval = Int64(1e9 / rate) }
    if let timers = policy.timers {
      rules.timersPass = timers == .pass
      rules.timer = { event in
        guard !event.metadata.isEmpty, let text = event.metadata["deliverAfter"], let time = DeliverAfter.date(text)
        else { return nil }
        return now + Int64(max(-1e9, min(1e9, time.timeIntervalSince(clock.now))) * 1e9)
      }
    }
    rules.conflates = policy.conflates
    rules.lanes = policy.priorities.count + 1
    rules.patience = Int64(policy.ageing * 1e9)
    return rules
  }

  /// Nanoseconds of the monotonic clock, which goes on while the machine or this process is stopped.
  static var now: Int64 { beginning.duration(to: .now).nanoseconds }
  static let beginning = ContinuousClock.now

  var isRunning: Bool { fate.withLock { if case .running = $0 { true } else { false } } }

  // MARK: Giving out

  func start(upTo count: Int) -> Flight? {
    guard isRunning else { return nil }
    return state.withLock { $0.start(upTo: count, now: Self.now) }
  }

  @discardableResult
  func finish(_ flight: Flight, _ outcomes: [Outcome]) -> Bool {
    finished { $0.finish(flight, outcomes, now: Self.now) }
  }

  @discardableResult
  func finish(_ flight: Flight, _ outcome: Outcome) -> Bool {
    finished { $0.finish(flight, outcome, now: Self.now) }
  }

  func finished(_ body: (CursorState) -> Bool) -> Bool {
    let (counts, hasReady, hasRoom) = state.withLock { state in
      let hadRoom = state.hasRoom
      let counts = body(state)
      return (counts, state.hasReady, !hadRoom && state.hasRoom)
    }
    if hasReady { startable.fire() }
    if hasRoom { room.hint() }
    if idle.load(ordering: .relaxed) { work.hint() }
    return counts
  }

  struct Figures: Sendable {
    var inFlight = 0
    var waiting = 0
    var keysBehind = 0
  }

  var figures: Figures {
    state.withLock { Figures(inFlight: $0.inFlight, waiting: $0.waiting, keysBehind: $0.keysBehind) }
  }

  // MARK: Running

  /// Until it is stopped or lost.
  ///
  /// - Throws: What cannot be waited out: an error of the database that is not one of its absence.
  func run() async throws {
    defer {
      // Nothing starts any more.
      end(.stopping)
      ended.store(true, ordering: .releasing)
      handOver.withLock { $0.take() }?.continuation.resume()
    }
    do {
      try await restore()
      try await withThrowingTaskGroup { tasks in
        tasks.addTask { try await self.read() }
        // Before handlers: what is done and not written down would come again.
        tasks.addTask(priority: .high) { try await self.keepBooks() }
        // The books are kept until all is written down; nothing is read after that.
        try await tasks.next()
        if !wasLost { endedWell.store(true, ordering: .releasing) }
        tasks.cancelAll()
      }
    } catch Loss.lost {
      end(.lost)
    }
  }

  enum Loss: Error { case lost }

  /// Ends it: after what is in flight has been written down, or, where it is lost, at once.
  func end(_ fate: Fate) {
    self.fate.withLock { current in
      if case .lost = current { return }
      current = fate
    }
    work.hint()
    room.hint()
  }

  var wasLost: Bool { fate.withLock { if case .lost = $0 { true } else { false } } }

  /// What the one before it left behind.
  func restore() async throws {
    let shards = claim.shards
    try await patiently {
      let rows = try await self.log.pool.execute(self.queries.keys, Parameters(self.groupID, shards))
      let keys = rows.indices.map { Self.keyRow(rows, $0) }
      let backlogs = try await self.backlogs(of: keys)
      _ = try await self.restoreSingles()
      let open = try await self.events(at: self.claim.place.open)
      self.state.withLock { state in
        for key in keys { state.restore(key, backlog: backlogs[ExactName(key.key)] ?? [], now: Self.now) }
        state.admit(open, areReopened: true, key: self.key)
      }
    }
    restored.store(true, ordering: .releasing)
    startable.fire()
  }

  /// What people have decided, or asked for, since it was looked at last.
  ///
  /// - Returns: `false`: it has to be looked at again.
  func lookAgain() async throws -> Bool {
    guard restored.load(ordering: .acquiring) else { return false }
    // Not while something is being written: the rows would be older than what is known here.
    await books.lock()
    defer { books.unlock() }
    let haveSingles = try await restoreSingles()
    let haveKeys = try await releaseHeldKeys()
    work.hint()
    return haveSingles && haveKeys
  }

  func restoreSingles() async throws -> Bool {
    let rows = try await log.pool.execute(queries.deferred, Parameters(groupID, claim.shards))
    let singles = rows.indices.map { row in
      SingleEvent(
        position: rows.int64(row, 0), key: rows.text(row, 1), shard: UInt8(truncatingIfNeeded: rows.int16(row, 2)),
        reason: SingleEvent.Reason(rawValue: rows.text(row, 7)) ?? .redrive, delay: rows.int64(row, 3) * 1_000_000,
        attempts: Int(rows.int32(row, 4)), age: rows.isNull(row, 5) ? nil : rows.int64(row, 5) * 1_000_000,
        problem: rows.isNull(row, 6) ? nil : rows.text(row, 6))
    }
    return state.withLock { state in
      singles.map { state.restore($0, now: Self.now) }.allSatisfy { $0 }
    }
  }

  func releaseHeldKeys() async throws -> Bool {
    let rows = try await log.pool.execute(queries.keys, Parameters(groupID, claim.shards))
    return state.withLock { state in
      rows.indices.map { state.release(Self.keyRow(rows, $0), now: Self.now) }.allSatisfy { $0 }
    }
  }

  static func keyRow(_ rows: Rows, _ row: Int) -> KeyRow {
    KeyRow(
      key: rows.text(row, 0), shard: UInt8(truncatingIfNeeded: rows.int16(row, 1)), position: rows.int64(row, 2),
      delay: rows.isNull(row, 3) ? nil : rows.int64(row, 3) * 1_000_000, attempts: Int(rows.int32(row, 4)),
      age: rows.isNull(row, 5) ? nil : rows.int64(row, 5) * 1_000_000,
      problem: rows.isNull(row, 6) ? nil : rows.text(row, 6))
  }

  /// Where the events are that keys have to catch up with.
  func backlogs(of keys: [KeyRow]) async throws -> [ExactName: [Int64]] {
    guard let first = keys.map(\.position).min() else { return [:] }
    let place = claim.place
    func reached(_ shard: UInt8) -> Int64 {
      place.floors.isEmpty ? place.position : max(place.position, place.floors[Int(shard)])
    }
    let end = max(place.position, place.floors.max() ?? 0)
    let known = Dictionary(keys.map { (ExactName($0.key), $0) }, uniquingKeysWith: { $1 })
    var backlogs: [ExactName: [Int64]] = [:]
    func add(_ name: String, _ position: Int64) {
      let name = ExactName(name)
      guard let key = known[name], position > key.position, position <= reached(key.shard) else { return }
      backlogs[name, default: []].append(position)
    }
    let filter = group.filter
    if case .stream = group.key {
      let streams = Set(keys.map { ExactName(CursorRules.key(of: $0.key)) }).map(\.text)
      let rows = try await log.pool.execute(queries.backlog, Parameters(BinaryArray(streams), first, end))
      for row in rows.indices {
        let metadata = rows.isNull(row, 3) ? Metadata() : Metadata(trusted: rows.byteArray(row, 3))
        let (name, type) = (rows.text(row, 1), rows.text(row, 2))
        guard filter.admits(stream: name, type: type), filter.admits(metadata) else { continue }
        add(CursorRules.name(name, lane: group.policy.lane(type: type, metadata: metadata)), rows.int64(row, 0))
      }
    } else if case .none = group.key {
      // Each event is a key of its own, named by its position.
      for key in keys { Int64(CursorRules.key(of: key.key)).map { add(key.key, $0) } }
    } else {
      // Its keys are no streams: the log is read once more.
      let events = log.readDecided(after: Position(first), upTo: Position(end), where: filter.log)
      for try await event in events {
        if let (name, _) = key(event) { add(name, event.position.rawValue) }
      }
    }
    return backlogs
  }

  var key: (RecordedEvent) -> (name: String, shard: UInt8)? {
    let (key, filter, hasMetadata, policy) = (group.key, group.filter, !group.filter.metadata.isEmpty, group.policy)
    return { event in
      if hasMetadata, !filter.admits(event.metadata) { return nil }
      let (name, shard) = key.key(of: event)
      return (CursorRules.name(name, lane: policy.lane(type: event.type, metadata: event.metadata)), shard)
    }
  }

  /// Tries again while the server is away, and this is not another's.
  func patiently(_ body: () async throws -> Void) async throws {
    try await Outage.waitOut(
      told: { error in
        logger.warning(
          "A consumer cannot read on, or write down what was handled",
          metadata: ["group": "\(group.name)", "cursor": "\(claim.cursor)", "error": "\(error)"])
      },
      {
        do {
          try await body()
        } catch {
          throw wasLost ? Loss.lost : error
        }
      })
  }
}
