internal import DequeModule
internal import EventStore
internal import HeapModule

/// What becomes of the events of one cursor: which of them may start, what has become of those that did, and how far
/// everything is. It decides and remembers; it neither reads, writes nor waits, and knows no clock.
///
/// Its promises: of a key one event at a time is in flight, in order of position; the next one starts when that was done, given
/// up or passed over. A key that waits holds up no other. What ``takeChanges()`` gives, written down whole, is all that another
/// member needs to go on: of what was done it delivers nothing again.
final class CursorState {
  /// Nanoseconds, from any beginning.
  typealias Instant = Int64

  struct Limits {
    /// Events that wait or are in flight in memory, at most.
    var window = 2_000
    /// Of one key that is behind, so many events are kept; of the others where they are.
    var eventsKept = 64
    /// Positions of keys that are behind, in all: then it reads no further.
    var positionsKept = 1_000_000
    /// Keys that are behind, at most: then it reads no further.
    var keysBehind = 10_000
  }

  private struct Slot {
    let position: Int64
    /// It was open when the cursor was taken over: then it comes before the others, whatever its position.
    let isReopened: Bool
    var isDone = false
  }

  private final class Key {
    let name: String
    let shard: UInt8
    let lane: Int
    var readySince: Instant = 0
    var queue: Deque<Entry> = []
    /// Single events of it that are due.
    var singles: [Entry] = []
    /// What is in flight; 0: nothing.
    var flight: UInt64 = 0
    /// The first event that is in flight, with its slot.
    var flying: (position: Int64, slot: Int) = (0, -1)
    /// It is among those that may start.
    var isReady = false
    var behind: Behind?
    /// Nothing of it starts before: it may go only so fast.
    var notBefore: Instant = 0

    init(_ name: String, _ shard: UInt8, _ lane: Int) {
      self.name = name
      self.shard = shard
      self.lane = lane
    }
  }

  /// A key with a row of its own.
  private struct Behind {
    /// Up to here it is done.
    var position: Int64
    /// Its next event may start then; `nil`: not before a person decides.
    var due: Instant?
    var attempts = 0
    var firstFailed: Instant?
    var problem: String?
    var isFetching = false
  }

  private struct Single {
    let key: String
    let shard: UInt8
    let reason: SingleEvent.Reason
    var due: Instant
    var attempts: Int
    var firstFailed: Instant?
    var problem: String?
    var isTaken = false
  }

  private struct Timer: Comparable {
    let due: Instant
    /// A key …
    let key: String?
    /// … or a single event.
    let position: Int64

    static func < (left: Self, right: Self) -> Bool { (left.due, left.position) < (right.due, right.position) }
    static func == (left: Self, right: Self) -> Bool { left.due == right.due && left.position == right.position }
  }

  let limits: Limits
  let rules: CursorRules
  private(set) var shards: ShardSet
  /// Of these nothing starts.
  private(set) var held = ShardSet.none
  /// By shard: done up to there. Empty: no further than the cursor.
  private var floors: [Int64]
  private var highestFloor: Int64

  /// Events that were taken in and are not done, in order of position, with the done ones between them.
  private var slots: Deque<Slot> = []
  private var firstSlot = 0
  private var undone = 0
  /// The last event that was taken in, or passed over.
  private var admitted: Int64
  /// The last event that was done.
  private var highest: Int64

  private var keys: [ExactName: Key] = [:]
  /// By lane, the most urgent first.
  private var ready: [Deque<Key>]
  private var suppressed: [Key] = []
  private var singles: [Int64: Single] = [:]
  private var singlesTaken = 0
  /// Of keys …
  private var timers = Heap<Timer>()
  /// … and of single events.
  private var singleTimers = Heap<Timer>()
  private var wanted: [Int64] = []
  /// Whose events are wanted.
  private var fetching: [Key] = []
  private var lastFlight: UInt64 = 0
  /// As it was said last.
  private var lastNow: Instant = 0
  private var positionsKept = 0
  private var keysBehind = 0
  private(set) var inFlight = 0
  /// Events that were passed over because there were newer ones of their key.
  private(set) var conflated = 0

  private var changedKeys: Set<ExactName> = []
  private var changedSingles: Set<Int64> = []
  private var deadLetters: [DeadLetter] = []
  private var handled = 0
  private var written: (position: Int64, open: [Int64])

  init(at place: CursorPlace, shards: ShardSet, limits: Limits = Limits(), rules: CursorRules = CursorRules()) {
    self.limits = limits
    self.rules = rules
    ready = Array(repeating: [], count: max(1, rules.lanes))
    self.shards = shards
    floors = place.floors
    highestFloor = place.floors.max() ?? 0
    admitted = place.position
    highest = place.position
    written = (place.position, place.open)
  }

  // MARK: Taking in

  /// Whether more events may be taken in.
  var hasRoom: Bool {
    undone < limits.window && slots.count < 8 * limits.window && positionsKept < limits.positionsKept
      && keysBehind < limits.keysBehind
  }

  /// Events that were taken in and have not been done, given up or set aside.
  var waiting: Int { undone }
  var behind: (keys: Int, events: Int) { (keysBehind, positionsKept) }

  /// A key that was behind when this cursor was taken over.
  ///
  /// - Parameter backlog: Where its events are that come after it, up to the cursor.
  func restore(_ row: KeyRow, backlog: [Int64], now: Instant) {
    guard shards.contains(row.shard), keys[ExactName(row.key)]?.behind == nil else { return }
    let key = key(row.key, row.shard)
    let due = row.delay.map { now + max(0, $0) }
    key.behind = Behind(
      position: row.position, due: due, attempts: row.attempts, firstFailed: row.age.map { now - $0 },
      problem: row.problem)
    keysBehind += 1
    let backlog = rules.conflates && due != nil ? backlog.suffix(1) : backlog[...]
    for position in backlog { key.queue.append(Entry(position: position)) }
    positionsKept += backlog.count
    guard let due else { return }
    timers.insert(Timer(due: due, key: row.key, position: 0))
  }

  /// A single event that is to come; one that is known already stays as it is.
  ///
  /// - Returns: `false`: what became of it is not written down yet, and the row says nothing.
  @discardableResult
  func restore(_ row: SingleEvent, now: Instant) -> Bool {
    guard shards.contains(row.shard), singles[row.position] == nil else { return true }
    // What is known here is newer than the row.
    guard !changedSingles.contains(row.position) else { return false }
    let due = now + max(0, row.delay)
    singles[row.position] = Single(
      key: row.key, shard: row.shard, reason: row.reason, due: due, attempts: row.attempts,
      firstFailed: row.age.map { now - $0 }, problem: row.problem)
    singleTimers.insert(Timer(due: due, key: nil, position: row.position))
    return true
  }

  /// A key that was held, about which a person has decided.
  ///
  /// - Returns: `false`: what became of it is not written down yet, and the row says nothing.
  @discardableResult
  func release(_ row: KeyRow, now: Instant) -> Bool {
    guard !changedKeys.contains(ExactName(row.key)) else { return false }
    guard let key = keys[ExactName(row.key)], let position = key.behind?.position, key.behind?.due == nil,
      let delay = row.delay
    else { return true }
    let due = now + max(0, delay)
    key.behind?.due = due
    key.behind?.attempts = row.attempts
    if row.position < position {
      // Its dead letter is to be tried again.
      key.behind?.position = row.position
      key.queue.prepend(Entry(position: position))
      positionsKept += 1
    }
    timers.insert(Timer(due: due, key: row.key, position: 0))
    return true
  }

  private func key(_ name: String, _ shard: UInt8) -> Key {
    if let key = keys[ExactName(name)] { return key }
    let key = Key(name, shard, min(CursorRules.lane(of: name), ready.count - 1))
    keys[ExactName(name)] = key
    return key
  }

  /// Events in order of position.
  ///
  /// - Parameters:
  ///   - areReopened: They are what was ``CursorPlace/open`` when the cursor was taken over: before all others.
  ///   - key: The key of an event, with its shard; `nil`: it is none of the group's.
  func admit(
    _ events: [RecordedEvent], areReopened: Bool = false, key: (RecordedEvent) -> (name: String, shard: UInt8)?
  ) {
    for index in events.indices {
      let position = events[index].position.rawValue
      defer { if !areReopened { admitted = max(admitted, position) } }
      guard let (name, shard) = key(events[index]), shards.contains(shard) else { continue }
      // Done, but for those that were open: they have come already.
      if position <= highestFloor, !areReopened, position <= floors[Int(shard)] { continue }
      admit(Entry(position: position, page: events, index: index), name, shard, areReopened)
    }
    if undone == 0 { highest = max(highest, admitted) }
  }

  private func admit(_ entry: Entry, _ name: String, _ shard: UInt8, _ isReopened: Bool) {
    let key = key(name, shard)
    var entry = entry
    if rules.conflates { conflate(key) }
    if let behind = key.behind {
      guard entry.position > behind.position, entry.position > key.queue.last?.position ?? 0 else { return }
      entry = key.queue.count < limits.eventsKept ? entry.alone : Entry(position: entry.position)
      positionsKept += 1
    } else {
      entry.slot = occupySlot(entry.position, isReopened)
    }
    key.queue.append(entry)
    readyIfStartable(key)
  }

  /// What waits of a key is of no concern any more once there is something newer.
  private func conflate(_ key: Key) {
    // A person is to decide about what is held.
    if let behind = key.behind, behind.due == nil { return }
    guard !key.queue.isEmpty else { return }
    if key.behind != nil { positionsKept -= key.queue.count }
    for entry in key.queue {
      conflated += 1
      handled += 1
      passed(entry, key)
    }
    key.queue = []
  }

  private func occupySlot(_ position: Int64, _ isReopened: Bool) -> Int {
    slots.append(Slot(position: position, isReopened: isReopened))
    undone += 1
    return firstSlot + slots.count - 1
  }

  /// Everything up to here has been read.
  func settle(at position: Int64) {
    admitted = max(admitted, position)
    if undone == 0 { highest = max(highest, admitted) }
  }

  // MARK: Starting

  /// The next event that may start.
  ///
  /// - Parameter most: Of its key so many at once, at most: consecutive ones, for one handler that takes them in order.
  func start(upTo most: Int = 1, now: Instant) -> Flight? {
    let count = rules.keyInterval > 0 ? 1 : most
    wake(now)
    while let key = popReady(now) {
      if held.contains(key.shard) {
        suppressed.append(key)
        continue
      }
      key.isReady = false
      guard isStartable(key, now) else { continue }
      if rules.keyInterval > 0 {
        guard key.notBefore <= now else {
          timers.insert(Timer(due: key.notBefore, key: key.name, position: 0))
          continue
        }
        key.notBefore = now + rules.keyInterval
      }
      if key.singles.isEmpty, let due = notYet(key, now) {
        wait(until: due, key, now)
        continue
      }
      lastFlight += 1
      inFlight += 1
      key.flight = lastFlight
      if !key.singles.isEmpty {
        let entry = key.singles.removeFirst()
        key.flying = (entry.position, -1)
        return Flight(number: lastFlight, key: key.name, shard: key.shard, first: entry, more: [])
      }
      var first = key.queue.removeFirst()
      if let behind = key.behind {
        first.attempts = behind.attempts
        first.firstFailed = behind.firstFailed
      }
      var more: [Entry] = []
      while more.count + 1 < count, let next = key.queue.first, next.event != nil, notYet(key, now) == nil {
        more.append(next)
        key.queue.removeFirst()
      }
      if key.behind != nil { positionsKept -= 1 + more.count }
      key.flying = (first.position, first.slot)
      return Flight(number: lastFlight, key: key.name, shard: key.shard, first: first, more: more)
    }
    return nil
  }

  /// The most urgent lane first; but who has waited for long enough in another comes before it.
  private func popReady(_ now: Instant) -> Key? {
    for lane in ready.indices.reversed() where lane > 0 {
      if let first = ready[lane].first, now - first.readySince > rules.patience { return ready[lane].popFirst() }
    }
    for lane in ready.indices where !ready[lane].isEmpty { return ready[lane].popFirst() }
    return nil
  }

  /// The time of a key's next event has not come.
  private func wait(until due: Instant, _ key: Key, _ now: Instant) {
    guard rules.timersPass, let entry = key.queue.popFirst() else {
      let position = (key.queue.first?.position ?? 0) - 1
      return setBehind(key, Behind(position: position, due: due, attempts: key.behind?.attempts ?? 0))
    }
    // It comes by itself. Not before it was the next of its key: so that whatever is written of the key later is beyond it.
    if key.behind != nil { positionsKept -= 1 }
    if singles[entry.position] == nil {
      singles[entry.position] = Single(key: key.name, shard: key.shard, reason: .timer, due: due, attempts: 0)
      changedSingles.insert(entry.position)
      singleTimers.insert(Timer(due: due, key: nil, position: entry.position))
    }
    passed(entry, key)
    goOn(key, now)
  }

  /// When the next event of a key may start, where that is later than now.
  private func notYet(_ key: Key, _ now: Instant) -> Instant? {
    guard let timer = rules.timer, let event = key.queue.first?.event, let due = timer(event), due > now
    else { return nil }
    return due
  }

  private func isStartable(_ key: Key, _ now: Instant) -> Bool {
    guard key.flight == 0 else { return false }
    if !key.singles.isEmpty { return true }
    guard let first = key.queue.first, first.event != nil else { return false }
    guard let behind = key.behind else { return true }
    return behind.due.map { $0 <= now } ?? false
  }

  /// When something that waits for its time may start, at the earliest.
  var nextDue: Instant? {
    let single = singlesTaken < limits.window / 4 ? singleTimers.min?.due : nil
    guard let key = timers.min?.due else { return single }
    return min(key, single ?? key)
  }

  /// Whether anything may start now, as far as is known.
  var hasReady: Bool { ready.contains { !$0.isEmpty } }

  private func wake(_ now: Instant) {
    lastNow = now
    while let timer = timers.min, timer.due <= now {
      timers.removeMin()
      guard let key = timer.key.flatMap({ keys[ExactName($0)] }) else { continue }
      guard let behind = key.behind else {
        // It may go on now, or be forgotten.
        goOn(key, now)
        continue
      }
      if !key.singles.isEmpty { readyIfStartable(key) }
      guard let due = behind.due, due <= now else { continue }
      if key.queue.isEmpty, key.flight == 0, behind.attempts == 0 {
        finishCatchingUp(key)
      } else {
        readyIfStartable(key)
      }
    }
    // Not more of them in memory than of others.
    while singlesTaken < limits.window / 4, let timer = singleTimers.min, timer.due <= now {
      singleTimers.removeMin()
      guard var single = singles[timer.position], !single.isTaken, single.due <= now else { continue }
      single.isTaken = true
      singlesTaken += 1
      singles[timer.position] = single
      wanted.append(timer.position)
    }
  }

  private func readyIfStartable(_ key: Key) {
    guard key.flight == 0, !key.isReady else { return }
    if key.singles.isEmpty {
      guard let first = key.queue.first else { return }
      if let behind = key.behind, behind.due == nil { return }
      guard first.event != nil else { return fetch(key) }
    }
    key.isReady = true
    key.readySince = lastNow
    enqueue(key)
  }

  private func enqueue(_ key: Key) {
    if held.contains(key.shard) { suppressed.append(key) } else { ready[key.lane].append(key) }
  }

  // MARK: Events that are not in memory

  private func fetch(_ key: Key) {
    guard let behind = key.behind, !behind.isFetching else { return }
    key.behind?.isFetching = true
    fetching.append(key)
    wanted += key.queue.prefix(limits.eventsKept).lazy.filter { $0.event == nil }.map(\.position)
  }

  /// Positions of events that are to be read, for ``deliver(_:wanted:now:)``.
  func takeWanted(now: Instant) -> [Int64] {
    wake(now)
    defer { wanted = [] }
    return wanted
  }

  /// They were not read after all.
  func wantAgain(_ positions: [Int64]) { wanted += positions }

  /// The events that were wanted; what is missing of them is not there any more, and passed over.
  func deliver(
    _ events: [RecordedEvent], wanted positions: [Int64], now: Instant,
    key: (RecordedEvent) -> (name: String, shard: UInt8)?
  ) {
    var missing = Set(positions)
    for event in events {
      let position = event.position.rawValue
      missing.remove(position)
      if let single = singles[position], single.isTaken {
        var entry = Entry(position: position, page: [event], index: 0)
        entry.isSingle = true
        entry.attempts = single.attempts
        entry.firstFailed = single.firstFailed
        entry.reason = single.reason
        let key = self.key(single.key, single.shard)
        key.singles.append(entry)
        readyIfStartable(key)
      } else if let (name, _) = key(event), let key = keys[ExactName(name)],
        let place = key.queue.firstIndex(where: { $0.position == position })
      {
        key.queue[place].hold(event)
      }
    }
    for position in missing where singles.removeValue(forKey: position) != nil {
      changedSingles.insert(position)
      singlesTaken -= 1
    }
    let waiting = fetching
    fetching = []
    for key in waiting {
      key.behind?.isFetching = false
      while let first = key.queue.first, missing.contains(first.position) {
        key.queue.removeFirst()
        positionsKept -= 1
        key.behind?.position = first.position
        changedKeys.insert(ExactName(key.name))
      }
      goOn(key, now)
    }
  }

  // MARK: Finishing

  /// What became of an event that was in flight.
  ///
  /// - Parameter outcomes: Of ``Flight/first`` and ``Flight/more``. After one that was not done or given up, those that follow
  ///   come again.
  /// - Returns: Whether it was still in flight; `false`: it was given up meanwhile, and this counts for nothing.
  @discardableResult
  func finish(_ flight: Flight, _ outcomes: [Outcome], now: Instant) -> Bool {
    finish(flight, now: now) { $0 < outcomes.count ? outcomes[$0] : .postponed(.zero) }
  }

  @discardableResult
  func finish(_ flight: Flight, _ outcome: Outcome, now: Instant) -> Bool {
    finish(flight, now: now) { _ in outcome }
  }

  private func finish(_ flight: Flight, now: Instant, _ outcome: (Int) -> Outcome) -> Bool {
    guard let key = keys[ExactName(flight.key)], key.flight == flight.number else { return false }
    key.flight = 0
    inFlight -= 1
    if flight.first.isSingle {
      finishSingle(flight.first, key, outcome(0), now)
    } else {
      for index in 0...flight.more.count {
        let entry = index == 0 ? flight.first : flight.more[index - 1]
        let fate = finish(entry, key, outcome(index), now)
        guard fate != .passed else { continue }
        putBack(flight.more.dropFirst(index), key)
        if fate == .comesAgain { putBack(CollectionOfOne(entry), key) }
        break
      }
    }
    goOn(key, now)
    return true
  }

  private enum Fate {
    case passed
    case comesAgain
    /// It has passed, and those after it must wait.
    case holds
  }

  private func finish(_ entry: Entry, _ key: Key, _ outcome: Outcome, _ now: Instant) -> Fate {
    switch outcome {
    case .done:
      handled += 1
      passed(entry, key)
      return .passed
    case .parked(let problem, let fingerprint, let holdsKey):
      park(entry, key, problem, fingerprint, holdsKey, now)
      if holdsKey {
        setBehind(key, Behind(position: entry.position, due: nil, problem: problem))
      }
      passed(entry, key)
      return holdsKey ? .holds : .passed
    case .retry(let delay, let problem):
      setBehind(
        key,
        Behind(
          position: entry.position - 1, due: now + delay.nanoseconds, attempts: entry.attempts + 1,
          firstFailed: entry.firstFailed ?? now, problem: problem))
      return .comesAgain
    case .postponed(let delay):
      if delay > .zero {
        setBehind(
          key,
          Behind(
            position: entry.position - 1, due: now + delay.nanoseconds, attempts: entry.attempts,
            firstFailed: entry.firstFailed, problem: key.behind?.problem))
      }
      return .comesAgain
    }
  }

  private func passed(_ entry: Entry, _ key: Key) {
    free(entry.slot)
    // Beyond what was read, only what lies below a floor can be done: the floor says so already.
    if entry.position <= admitted { highest = max(highest, entry.position) }
    guard key.behind != nil else { return }
    key.behind?.position = entry.position
    key.behind?.attempts = 0
    key.behind?.firstFailed = nil
    key.behind?.problem = nil
    changedKeys.insert(ExactName(key.name))
  }

  private func park(
    _ entry: Entry, _ key: Key, _ problem: String, _ fingerprint: String, _ holdsKey: Bool, _ now: Instant
  ) {
    guard let event = entry.event else { return }
    handled += 1
    deadLetters.append(
      DeadLetter(
        position: entry.position, key: key.name, shard: key.shard, stream: event.stream.description,
        version: event.version, type: event.type, eventID: event.id, problem: problem, fingerprint: fingerprint,
        attempts: entry.attempts + 1, age: now - (entry.firstFailed ?? now), holdsKey: holdsKey))
  }

  /// Gives a key a row of its own: from then on the cursor does not wait for it.
  private func setBehind(_ key: Key, _ behind: Behind) {
    if key.behind == nil {
      keysBehind += 1
      positionsKept += key.queue.count
      for place in key.queue.indices {
        free(key.queue[place].slot)
        key.queue[place] =
          place < limits.eventsKept ? key.queue[place].alone : Entry(position: key.queue[place].position)
      }
    }
    key.behind = behind
    changedKeys.insert(ExactName(key.name))
    if let due = behind.due { timers.insert(Timer(due: due, key: key.name, position: 0)) }
  }

  private func putBack(_ entries: some BidirectionalCollection<Entry>, _ key: Key) {
    for entry in entries.reversed() {
      guard key.behind != nil else {
        key.queue.prepend(entry)
        continue
      }
      free(entry.slot)
      positionsKept += 1
      key.queue.prepend(entry.alone)
    }
  }

  private func finishSingle(_ entry: Entry, _ key: Key, _ outcome: Outcome, _ now: Instant) {
    guard var single = singles[entry.position] else { return }
    changedSingles.insert(entry.position)
    singlesTaken -= 1
    switch outcome {
    case .done:
      handled += 1
      singles[entry.position] = nil
    case .parked(let problem, let fingerprint, _):
      // The key has gone on long ago: there is nothing to hold back.
      park(entry, key, problem, fingerprint, false, now)
      singles[entry.position] = nil
    case .retry(let delay, let problem):
      single.attempts += 1
      single.firstFailed = single.firstFailed ?? now
      single.problem = problem
      again(entry.position, &single, now + delay.nanoseconds)
    case .postponed(let delay): again(entry.position, &single, now + delay.nanoseconds)
    }
  }

  private func again(_ position: Int64, _ single: inout Single, _ due: Instant) {
    single.due = due
    single.isTaken = false
    singles[position] = single
    singleTimers.insert(Timer(due: due, key: nil, position: position))
  }

  /// Lets the next event of a key start, or forgets the key.
  private func goOn(_ key: Key, _ now: Instant) {
    if !key.queue.isEmpty || !key.singles.isEmpty { return readyIfStartable(key) }
    guard key.flight == 0 else { return }
    if key.notBefore > now {
      // Kept, so that its next event does not come too soon.
      timers.insert(Timer(due: key.notBefore, key: key.name, position: 0))
    } else if key.behind == nil {
      keys[ExactName(key.name)] = nil
    } else {
      finishCatchingUp(key)
    }
  }

  /// A key that has nothing left is where its cursor is: unless it is held.
  private func finishCatchingUp(_ key: Key) {
    guard let behind = key.behind, behind.due != nil else { return }
    keysBehind -= 1
    key.behind = nil
    changedKeys.insert(ExactName(key.name))
    if key.singles.isEmpty { keys[ExactName(key.name)] = nil }
  }

  private func free(_ slot: Int) {
    guard slot >= firstSlot, !slots[slot - firstSlot].isDone else { return }
    slots[slot - firstSlot].isDone = true
    undone -= 1
    if undone == 0 { highest = max(highest, admitted) }
    while let first = slots.first, first.isDone {
      slots.removeFirst()
      firstSlot += 1
    }
  }

  // MARK: Keys that take too much room

  /// Sets aside the keys that have most of what waits, so that others need not wait for room behind them.
  func spill(now: Instant) {
    for key in keys.values where key.behind == nil && key.queue.count > 16 {
      guard let first = key.queue.first else { continue }
      // What is in flight is not done: it comes again with the others if this member dies.
      let undone = key.flight == 0 || key.flying.slot < 0 ? first.position : key.flying.position
      setBehind(key, Behind(position: undone - 1, due: now))
      if key.flight != 0 { free(key.flying.slot) }
    }
    // Behind a few that are slow there may be very many that are done.
    guard slots.count > 4 * limits.window else { return }
    for key in keys.values where key.behind == nil && key.flight != 0 && key.flying.slot >= 0 {
      setBehind(key, Behind(position: key.flying.position - 1, due: now))
      free(key.flying.slot)
    }
  }

  // MARK: Shards that go

  /// Starts nothing of these shards, until they are let go.
  func hold(_ more: ShardSet) { held = held.union(more) }

  func letGo(_ some: ShardSet) {
    held = held.subtracting(some)
    let waiting = suppressed
    suppressed = []
    for key in waiting { enqueue(key) }
  }

  /// Shards of which something is in flight.
  var busyShards: ShardSet { ShardSet(keys.values.lazy.filter { $0.flight != 0 }.map(\.shard)) }

  /// Forgets shards that are another's by now.
  func drop(_ gone: ShardSet) {
    shards = shards.subtracting(gone)
    held = held.subtracting(gone)
    for key in keys.values where gone.contains(key.shard) {
      for entry in key.queue { free(entry.slot) }
      if key.behind != nil {
        keysBehind -= 1
        positionsKept -= key.queue.count
      }
      changedKeys.remove(ExactName(key.name))
      keys[ExactName(key.name)] = nil
    }
    // What is written of them from now on is another's to write.
    changedSingles.subtract(singles.filter { gone.contains($0.value.shard) }.keys)
    singles = singles.filter { !gone.contains($0.value.shard) }
    singlesTaken = singles.values.count { $0.isTaken }
    suppressed.removeAll { gone.contains($0.shard) }
    for lane in ready.indices { ready[lane].removeAll { gone.contains($0.shard) } }
    fetching.removeAll { gone.contains($0.shard) }
  }

  // MARK: Writing down

  /// Where the cursor is: all that another member needs, together with the rows of keys and single events.
  var place: CursorPlace {
    var open: [Int64] = []
    for slot in slots {
      guard slot.position <= highest || slot.isReopened else { break }
      if !slot.isDone { open.append(slot.position) }
    }
    return CursorPlace(position: highest, open: open, floors: floorsAbove(highest))
  }

  private func floorsAbove(_ position: Int64) -> [Int64] {
    position < highestFloor ? floors : []
  }

  /// Whether something has become of events that is not written down.
  var hasNews: Bool { handled > 0 || !changedKeys.isEmpty || !changedSingles.isEmpty || !deadLetters.isEmpty }

  /// What is to be written down since the last time; `nil`: nothing.
  ///
  /// - Parameter mayOnlyMove: Also that it has passed events of others, and nothing else.
  func takeChanges(now: Instant, mayOnlyMove: Bool = true) -> CursorChanges? {
    let place = place
    let isMoved = place.position != written.position || place.open != written.open
    guard
      (isMoved && mayOnlyMove) || handled > 0 || !changedKeys.isEmpty || !changedSingles.isEmpty || !deadLetters.isEmpty
    else {
      return nil
    }
    defer {
      written = (place.position, place.open)
      changedKeys = []
      changedSingles = []
      deadLetters = []
      handled = 0
    }
    return CursorChanges(
      place: place, handled: handled,
      keys: changedKeys.map { exact in
        let name = exact.text
        guard let key = keys[exact], let behind = key.behind else {
          return KeyRow(key: name, shard: 0, position: 0, delay: nil, attempts: -1, age: nil, problem: nil)
        }
        return KeyRow(
          key: name, shard: key.shard, position: behind.position, delay: behind.due.map { $0 - now },
          attempts: behind.attempts, age: behind.firstFailed.map { now - $0 }, problem: behind.problem)
      },
      singles: changedSingles.map { position in
        guard let single = singles[position] else {
          return SingleEvent(
            position: position, key: "", shard: 0, reason: .redrive, delay: 0, attempts: -1, age: nil, problem: nil)
        }
        return SingleEvent(
          position: position, key: single.key, shard: single.shard, reason: single.reason, delay: single.due - now,
          attempts: single.attempts, age: single.firstFailed.map { now - $0 }, problem: single.problem)
      },
      deadLetters: deadLetters)
  }

  /// They were not written down: they are to be, the next time.
  func putBack(_ changes: CursorChanges) {
    written = (-1, [])
    changedKeys.formUnion(changes.keys.map { ExactName($0.key) })
    changedSingles.formUnion(changes.singles.map(\.position))
    deadLetters = changes.deadLetters + deadLetters
    handled += changes.handled
  }
}
