internal import EventStore
internal import FoundationEssentials
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
  private let groupID: Int32
  private let log: PostgreSQLEventLog
  private let queries: OutboxQueries
  private let state: Mutex<CursorState>
  private let row: Mutex<String>
  /// Something may start.
  private let startable: Signal
  let clock: ServerClock
  /// There is something to write, to read or to wait for.
  private let work = Hints()
  private let room = Hints()
  private let fate = Mutex(Fate.running)
  private let idle = Atomic<Bool>(false)
  private let ended = Atomic<Bool>(false)
  private let restored = Atomic<Bool>(false)
  /// It ended in order, with everything written down.
  private let endedWell = Atomic<Bool>(false)
  private let handOver = Mutex<HandOver?>(nil)
  /// Held by who writes down what was taken from the state: one after the other.
  private let books = AsyncLock()
  private let finishing = Atomic<Bool>(false)

  private struct HandOver {
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
  private static let pace = Duration.milliseconds(5)
  /// How long a full memory is waited for before keys are set aside that take most of it.
  private static let patience = Duration.milliseconds(50)
  /// With the heartbeats, an idle member must not be seen in the server's load.
  static let idlePoll = Duration.milliseconds(1_500)

  init(
    _ claim: Claim, _ group: ConsumerGroup, _ groupID: Int32, _ log: PostgreSQLEventLog, _ queries: OutboxQueries,
    startable: Signal, clock: ServerClock, window: Int
  ) {
    self.claim = claim
    self.group = group
    self.groupID = groupID
    self.log = log
    self.queries = queries
    self.startable = startable
    self.clock = clock
    var limits = CursorState.Limits()
    limits.window = window
    // Made here and used behind the lock only.
    state = Mutex(
      CursorState(at: claim.place, shards: claim.shards, limits: limits, rules: Self.rules(group.policy, clock)))
    row = Mutex(claim.row)
  }

  private static func rules(_ policy: GroupPolicy, _ clock: ServerClock) -> CursorRules {
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
  private static let beginning = ContinuousClock.now

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

  private func finished(_ body: (CursorState) -> Bool) -> Bool {
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
    var eventsBehind = 0
  }

  var figures: Figures {
    state.withLock { state in
      Figures(
        inFlight: state.inFlight, waiting: state.waiting, keysBehind: state.behind.keys,
        eventsBehind: state.behind.events)
    }
  }

  // MARK: In a handler's transaction

  /// - Parameters:
  ///   - count: So many of the events, from the first, were handled …
  ///   - blame: … and this became of the one behind them. Those that follow come again.
  @discardableResult
  func finish(_ flights: [Flight], done count: Int, then blame: Outcome?) -> Bool {
    var place = 0
    return finished { state in
      for flight in flights {
        var outcomes: [Outcome] = []
        for _ in 0...flight.more.count {
          if place < count { outcomes.append(.done) } else if place == count, let blame { outcomes.append(blame) }
          place += 1
        }
        state.finish(flight, outcomes, now: Self.now)
      }
      return true
    }
  }

  /// Writes down, in the handler's own transaction, what became of events. Until it is known whether that was committed nothing
  /// else is written: ``committed()`` or ``rolledBack()`` must follow.
  func finish(_ flights: [Flight], done count: Int, then blame: Outcome?, on connection: Connection) async throws {
    if connection.isTransactionFailed {
      throw PostgreSQLError(.server, "a statement of it had failed", sqlState: "25P02")
    }
    await books.lock()
    finishing.store(true, ordering: .relaxed)
    if wasLost { throw PostgreSQLError(.server, "the cursor is another member's by now", sqlState: "ESO01") }
    finish(flights, done: count, then: blame)
    guard let changes = state.withLock({ $0.takeChanges(now: Self.now) }) else { return }
    try await write(changes, on: connection)
  }

  var isFinishing: Bool { finishing.load(ordering: .relaxed) }

  func committed() {
    finishing.store(false, ordering: .relaxed)
    books.unlock()
  }

  /// Perhaps: then it has to begin again with what is written.
  func rolledBack() {
    end(.lost)
    guard finishing.exchange(false, ordering: .relaxed) else { return }
    books.unlock()
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

  private enum Loss: Error { case lost }

  /// Ends it: after what is in flight has been written down, or, where it is lost, at once.
  func end(_ fate: Fate) {
    self.fate.withLock { current in
      if case .lost = current { return }
      current = fate
    }
    work.hint()
    room.hint()
  }

  private var wasLost: Bool { fate.withLock { if case .lost = $0 { true } else { false } } }

  /// What the one before it left behind.
  private func restore() async throws {
    let shards = claim.shards
    try await patiently {
      let rows = try await self.log.pool.execute(self.queries.keys, Parameters(self.groupID, shards))
      let keys = rows.indices.map { Self.keyRow(rows, $0) }
      let backlogs = try await self.backlogs(of: keys)
      _ = try await self.restoreSingles()
      let open = try await self.log.events(at: self.claim.place.open.map { Position($0) })
      self.state.withLock { state in
        for key in keys { state.restore(key, backlog: backlogs[key.key] ?? [], now: Self.now) }
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

  private func restoreSingles() async throws -> Bool {
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

  private func releaseHeldKeys() async throws -> Bool {
    let rows = try await log.pool.execute(queries.keys, Parameters(groupID, claim.shards))
    return state.withLock { state in
      rows.indices.map { state.release(Self.keyRow(rows, $0), now: Self.now) }.allSatisfy { $0 }
    }
  }

  private static func keyRow(_ rows: Rows, _ row: Int) -> KeyRow {
    KeyRow(
      key: rows.text(row, 0), shard: UInt8(truncatingIfNeeded: rows.int16(row, 1)), position: rows.int64(row, 2),
      delay: rows.isNull(row, 3) ? nil : rows.int64(row, 3) * 1_000_000, attempts: Int(rows.int32(row, 4)),
      age: rows.isNull(row, 5) ? nil : rows.int64(row, 5) * 1_000_000,
      problem: rows.isNull(row, 6) ? nil : rows.text(row, 6))
  }

  /// Where the events are that keys have to catch up with.
  private func backlogs(of keys: [KeyRow]) async throws -> [String: [Int64]] {
    guard let first = keys.map(\.position).min() else { return [:] }
    let place = claim.place
    func reached(_ shard: UInt8) -> Int64 {
      place.floors.isEmpty ? place.position : max(place.position, place.floors[Int(shard)])
    }
    let end = max(place.position, place.floors.max() ?? 0)
    let known = Dictionary(keys.map { ($0.key, $0) }, uniquingKeysWith: { $1 })
    var backlogs: [String: [Int64]] = [:]
    func add(_ name: String, _ position: Int64) {
      guard let key = known[name], position > key.position, position <= reached(key.shard) else { return }
      backlogs[name, default: []].append(position)
    }
    let filter = group.filter
    if case .stream = group.key {
      let streams = Set(keys.map { CursorRules.key(of: $0.key) }).sorted()
      let rows = try await log.pool.execute(queries.backlog, Parameters(BinaryArray(streams), first, end))
      for row in rows.indices {
        let metadata = rows.isNull(row, 3) ? Metadata() : Metadata(trusted: rows.byteArray(row, 3))
        let (name, type) = (rows.text(row, 1), rows.text(row, 2))
        guard filter.admits(stream: name, type: type), filter.admits(metadata) else { continue }
        add(CursorRules.name(name, lane: group.policy.lane(type: type, metadata: metadata)), rows.int64(row, 0))
      }
    } else {
      // Its keys are no streams: the log is read once more.
      let events = log.readDecided(after: Position(first), upTo: Position(end), where: filter.log)
      for try await event in events {
        if let (name, _) = key(event) { add(name, event.position.rawValue) }
      }
    }
    return backlogs
  }

  private var key: (RecordedEvent) -> (name: String, shard: UInt8)? {
    let (key, filter, hasMetadata, policy) = (group.key, group.filter, !group.filter.metadata.isEmpty, group.policy)
    return { event in
      if hasMetadata, !filter.admits(event.metadata) { return nil }
      let (name, shard) = key.key(of: event)
      return (CursorRules.name(name, lane: policy.lane(type: event.type, metadata: event.metadata)), shard)
    }
  }

  /// Tries again while the server is away.
  private func patiently(_ body: () async throws -> Void) async throws {
    var pause = Duration.milliseconds(50)
    while true {
      do {
        return try await body()
      } catch {
        if wasLost { throw Loss.lost }
        guard Outage.isMeant(by: error) else { throw error }
        try await Task.sleep(for: pause)
        pause = min(pause * 2, .seconds(1))
      }
    }
  }

  // MARK: Reading

  private func read() async throws {
    var filter = group.filter.log
    if group.key.isByStream, claim.shards != .all { filter.shards = claim.shards }
    let follower = LogFollower(
      log, after: Position(claim.place.position), filter, longestPause: Self.idlePoll)
    while !Task.isCancelled {
      // What comes now is for whoever begins again. It must not even be seen to be read.
      guard isRunning else {
        try await Task.sleep(for: .seconds(3600))
        continue
      }
      try await waitForRoom(follower)
      try await patiently {
        do {
          switch try await follower.next() {
          case .events(let page):
            guard self.isRunning else { return }
            if self.group.policy.delay > 0 {
              try await self.admitWhenDue(page, follower)
            } else {
              self.admit(page)
            }
          case .caughtUp:
            let settled = try await follower.settled()
            guard self.isRunning else { return }
            self.state.withLock { $0.settle(at: settled.rawValue) }
            await follower.wait()
          }
        } catch {
          follower.restart()
          throw error
        }
      }
      if Task.isCancelled { return }
    }
  }

  private func admit(_ events: [RecordedEvent]) {
    let hasReady = state.withLock { state in
      state.admit(events, key: key)
      return state.hasReady
    }
    if hasReady { startable.fire() }
  }

  /// Each event when it is old enough.
  private func admitWhenDue(_ page: [RecordedEvent], _ follower: LogFollower) async throws {
    var rest = page[...]
    while let first = rest.first, isRunning {
      let latest = clock.now.addingTimeInterval(-group.policy.delay)
      let due = rest.prefix { $0.recordedAt <= latest }
      if due.isEmpty {
        follower.restart()
        try await Task.sleep(for: .seconds(min(1, first.recordedAt.timeIntervalSince(latest))))
      } else {
        admit(Array(due))
        rest = rest.dropFirst(due.count)
      }
    }
  }

  private func waitForRoom(_ follower: LogFollower) async throws {
    while isRunning, !Task.isCancelled {
      let seen = room.count
      if state.withLock({ $0.hasRoom }) { return }
      await room.wait(after: seen, atMost: Self.patience)
      guard room.count == seen, isRunning, !Task.isCancelled else { continue }
      // Others may need the connection meanwhile.
      follower.restart()
      state.withLock { state in if !state.hasRoom { state.spill(now: Self.now) } }
      work.hint()
    }
  }

  // MARK: Keeping books

  /// Writes down what has become of events, fetches those that are wanted, and wakes those whose time has come; until it is
  /// stopped and all is written.
  private func keepBooks() async throws {
    var lastMove = ContinuousClock.now - .seconds(10)
    while true {
      let seen = work.count
      idle.store(false, ordering: .relaxed)
      let mayMove = lastMove.duration(to: .now) > .seconds(1) || !isRunning
      var found = Found()
      try await patiently { found = try await self.writeOnce(mayMove: mayMove) }
      if !found.wanted.isEmpty { try await fetch(found.wanted) }
      if found.wasWritten { lastMove = .now }
      if !found.wasWritten, found.wanted.isEmpty {
        if !isRunning, found.inFlight == 0 { return }
        // Rests; whoever finishes something says so.
        idle.store(true, ordering: .sequentiallyConsistent)
        // Finished just before that was said.
        if state.withLock({ $0.hasNews }) { continue }
        let rest = found.due.map { Duration.nanoseconds(max(0, $0 - Self.now)) } ?? .seconds(1)
        await work.wait(after: seen, atMost: min(rest, .seconds(1)))
      }
      if state.withLock({ $0.hasReady || ($0.nextDue ?? .max) <= Self.now }) { startable.fire() }
      if found.wasWritten { try await Task.sleep(for: Self.pace) }
    }
  }

  private struct Found {
    var wanted: [Int64] = []
    var due: CursorState.Instant?
    var inFlight = 0
    var wasWritten = false
  }

  private func writeOnce(mayMove: Bool) async throws -> Found {
    // First a connection, then the books: a handler's transaction, which has one, waits for them.
    let lease = try await log.pool.lease()
    await books.lock()
    defer { books.unlock() }
    if wasLost { throw Loss.lost }
    try Task.checkCancellation()
    // The request first: what has become of its shards is among the changes then.
    let request = handOver.withLock { $0.take() }
    let now = Self.now
    var found = Found()
    let changes = state.withLock { state in
      found.wanted = state.takeWanted(now: now)
      found.due = state.nextDue
      found.inFlight = state.inFlight
      return state.takeChanges(now: now, mayOnlyMove: mayMove)
    }
    do {
      if let changes { try await write(changes, on: lease.connection) }
    } catch {
      // To be written with what comes next; twice is once.
      if let changes { state.withLock { $0.putBack(changes) } }
      if !found.wanted.isEmpty { state.withLock { $0.wantAgain(found.wanted) } }
      request?.continuation.resume(throwing: error)
      if (error as? PostgreSQLError)?.sqlState == "ESO01" { throw Loss.lost }
      throw error
    }
    if let request { try await give(request) }
    found.wasWritten = changes != nil
    return found
  }

  /// What was finished after it had been cancelled.
  func writeLast() async {
    await books.lock()
    defer { books.unlock() }
    guard restored.load(ordering: .acquiring), !wasLost, let changes = state.withLock({ $0.takeChanges(now: Self.now) })
    else { return }
    _ = try? await log.pool.withConnection { connection in try await self.write(changes, on: connection) }
  }

  private func fetch(_ wanted: [Int64]) async throws {
    try await patiently {
      let events = try await self.log.events(at: wanted.map { Position($0) })
      self.state.withLock { $0.deliver(events, wanted: wanted, now: Self.now, key: self.key) }
    }
    startable.fire()
  }

  /// Writes it down, in whatever transaction the connection is.
  ///
  /// - Throws: `ESO01` where the cursor is another's by now.
  private func write(_ changes: CursorChanges, on connection: Connection) async throws {
    if changes.isOnlyMove {
      let place = changes.place
      let moved = try await connection.execute(
        queries.move,
        Parameters(
          row.withLock { $0 }, claim.cursor, claim.epoch, place.position,
          place.open.isEmpty ? nil : Bytea(OpenPositions.encode(place.open)),
          place.floors.isEmpty ? nil : BinaryArray(place.floors), Int64(changes.handled)))
      if !moved.isEmpty {
        row.withLock { $0 = moved.text(0, 0) }
        return
      }
      // The row was moved by others, such as VACUUM FULL: it is looked for by its key.
    }
    let settled = try await connection.execute(
      queries.settle, changes.parameters(cursor: claim.cursor, epoch: claim.epoch, consumer: Presence.process))
    row.withLock { $0 = settled.text(0, 0) }
  }

  // MARK: Handing over

  /// As it is now.
  var current: Claim {
    Claim(cursor: claim.cursor, epoch: claim.epoch, shards: shards, place: place, row: "(0,0)")
  }

  var shards: ShardSet { state.withLock { $0.shards } }
  var place: CursorPlace { state.withLock { $0.place } }
  var hasEnded: Bool { ended.load(ordering: .acquiring) }

  func letGo(_ shards: ShardSet) {
    state.withLock { $0.letGo(shards) }
    startable.fire()
  }

  /// Gives shards away of which nothing is in flight, or nothing any more within a time.
  ///
  /// - Parameter give: Writes down whose they are.
  func handOver(
    _ leaving: ShardSet, within patience: Duration, _ give: @escaping @Sendable (ShardSet) async throws -> Void
  ) async throws {
    let deadline = ContinuousClock.now + patience
    state.withLock { $0.hold(leaving) }
    defer { letGo(leaving) }
    while !state.withLock({ $0.busyShards.isDisjoint(from: leaving) }), ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(5))
    }
    let given = leaving.subtracting(state.withLock { $0.busyShards })
    guard !given.isEmpty, !hasEnded else { return }
    try await withCheckedThrowingContinuation { continuation in
      handOver.withLock { $0 = HandOver(shards: given, give: give, continuation: continuation) }
      work.hint()
      // It may have ended meanwhile.
      if hasEnded { handOver.withLock { $0.take() }?.continuation.resume() }
    }
  }

  /// Between two entries in the books: all that has become of these shards is written down.
  private func give(_ request: HandOver) async throws {
    do {
      try await request.give(request.shards)
      state.withLock { $0.drop(request.shards) }
      request.continuation.resume()
    } catch {
      request.continuation.resume(throwing: error)
      // Whether they were given away is not known: it begins again with what is written.
      throw Loss.lost
    }
  }

  /// Starts nothing more, and waits until nothing is in flight.
  ///
  /// - Returns: `false`: that took too long, and it goes on.
  func rest(within patience: Duration) async -> Bool {
    let deadline = ContinuousClock.now + patience
    state.withLock { $0.hold(.all) }
    while state.withLock({ $0.inFlight }) > 0 {
      guard ContinuousClock.now < deadline, !Task.isCancelled else {
        letGo(.all)
        return false
      }
      try? await Task.sleep(for: .milliseconds(2))
    }
    return true
  }

  /// Whether it ended in order, and what it says of its place is what is written.
  var isWritten: Bool {
    endedWell.load(ordering: .acquiring) && state.withLock { $0.takeChanges(now: Self.now) == nil }
  }

  func ends(within patience: Duration) async -> Bool {
    let deadline = ContinuousClock.now + patience
    while !hasEnded, ContinuousClock.now < deadline, !Task.isCancelled { try? await Task.sleep(for: .milliseconds(2)) }
    return hasEnded
  }
}

/// The database is away, and may come back.
enum Outage {
  static func isMeant(by error: any Error) -> Bool {
    switch error {
    case let error as PostgreSQLError:
      switch error.code {
      case .connectFailed, .connectionLost, .poolTimeout, .timeout: true
      case .server: ["08", "40", "53", "55", "57", "58"].contains(error.sqlState?.prefix(2) ?? "")
      default: false
      }
    case let error as ReadError:
      switch error {
      case .unavailable: true
      case .database(let error): isMeant(by: error)
      default: false
      }
    default: false
    }
  }
}

extension CursorChanges {
  /// For queries/outbox_settle.sql. Times in milliseconds.
  func parameters(cursor: Int64, epoch: Int64, consumer: String) -> Parameters {
    func milliseconds(_ nanoseconds: Int64) -> Int64 { nanoseconds / 1_000_000 }
    var p = Parameters(
      cursor, epoch, place.position, place.open.isEmpty ? nil : Bytea(OpenPositions.encode(place.open)),
      place.floors.isEmpty ? nil : BinaryArray(place.floors), Int64(handled))
    p.append(BinaryArray(keys.map(\.key)))
    p.append(BinaryArray(keys.map { Int64($0.shard) }))
    p.append(BinaryArray(keys.map(\.position)))
    p.append(BinaryArray(keys.map { $0.delay.map(milliseconds) }))
    p.append(BinaryArray(keys.map { Int64($0.attempts) }))
    p.append(BinaryArray(keys.map { $0.age.map(milliseconds) }))
    p.append(BinaryArray(keys.map(\.problem)))
    p.append(BinaryArray(singles.map(\.position)))
    p.append(BinaryArray(singles.map(\.key)))
    p.append(BinaryArray(singles.map { Int64($0.shard) }))
    p.append(BinaryArray(singles.map { milliseconds($0.delay) }))
    p.append(BinaryArray(singles.map { Int64($0.attempts) }))
    p.append(BinaryArray(singles.map { $0.age.map(milliseconds) }))
    p.append(BinaryArray(singles.map(\.problem)))
    p.append(BinaryArray(singles.map(\.reason.rawValue)))
    p.append(BinaryArray(deadLetters.map(\.position)))
    p.append(BinaryArray(deadLetters.map(\.key)))
    p.append(BinaryArray(deadLetters.map { Int64($0.shard) }))
    p.append(BinaryArray(deadLetters.map(\.stream)))
    p.append(BinaryArray(deadLetters.map { Int64($0.version) }))
    p.append(BinaryArray(deadLetters.map(\.type)))
    p.append(BinaryArray(deadLetters.map(\.eventID)))
    p.append(BinaryArray(deadLetters.map(\.problem)))
    p.append(BinaryArray(deadLetters.map(\.fingerprint)))
    p.append(BinaryArray(deadLetters.map { Int64($0.attempts) }))
    p.append(BinaryArray(deadLetters.map { milliseconds($0.age) }))
    p.append(BinaryArray(deadLetters.map(\.holdsKey)))
    p.append(consumer)
    return p
  }
}
