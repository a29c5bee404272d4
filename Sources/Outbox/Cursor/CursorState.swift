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
    /// Of all keys that are behind, so many; beyond that, of each only one that is to start.
    var eventsKeptInAll = 8_000
    /// Positions of keys that are behind, in all: then it reads no further.
    var positionsKept = 1_000_000
    /// Keys that are behind, at most: then it reads no further.
    var keysBehind = 10_000
  }

  struct Slot {
    let position: Int64
    /// It was open when the cursor was taken over: then it comes before the others, whatever its position.
    let isReopened: Bool
    var isDone = false
  }

  final class Key {
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
  struct Behind {
    /// Up to here it is done.
    var position: Int64
    /// Its next event may start then; `nil`: not before a person decides.
    var due: Instant?
    var attempts = 0
    var firstFailed: Instant?
    var problem: String?
    var isFetching = false
  }

  struct Single {
    let key: String
    let shard: UInt8
    let reason: SingleEvent.Reason
    var due: Instant
    var attempts: Int
    var firstFailed: Instant?
    var problem: String?
    var isTaken = false
  }

  struct Timer: Comparable {
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
  var shards: ShardSet
  /// Of these nothing starts.
  var held = ShardSet.none
  /// By shard: done up to there. Empty: no further than the cursor.
  var floors: [Int64]
  var highestFloor: Int64

  /// Events that were taken in and are not done, in order of position, with the done ones between them.
  var slots: Deque<Slot> = []
  var firstSlot = 0
  var undone = 0
  /// The last event that was taken in, or passed over.
  var admitted: Int64
  /// The last event that was done.
  var highest: Int64

  var keys: [ExactName: Key] = [:]
  /// By lane, the most urgent first.
  var ready: [Deque<Key>]
  var suppressed: [Key] = []
  var singles: [Int64: Single] = [:]
  var singlesTaken = 0
  /// Of keys …
  var timers = Heap<Timer>()
  /// … and of single events.
  var singleTimers = Heap<Timer>()
  var wanted: [Int64] = []
  /// Whose events are wanted …
  var fetching: [Key] = []
  /// … and how many.
  var eventsWanted = 0
  var lastFlight: UInt64 = 0
  /// As it was said last.
  var lastNow: Instant = 0
  var positionsKept = 0
  /// Of those, events that are in memory.
  var eventsKept = 0
  var keysBehind = 0
  var inFlight = 0

  var changedKeys: Set<ExactName> = []
  var changedSingles: Set<Int64> = []
  var deadLetters: [DeadLetter] = []
  var handled = 0
  var written: (position: Int64, open: [Int64])

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

  func key(_ name: String, _ shard: UInt8) -> Key {
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

  func admit(_ entry: Entry, _ name: String, _ shard: UInt8, _ isReopened: Bool) {
    let key = key(name, shard)
    var entry = entry
    if rules.conflates { conflate(key) }
    if let behind = key.behind {
      guard entry.position > behind.position, entry.position > key.queue.last?.position ?? 0 else { return }
      positionsKept += 1
      entry = kept(entry, at: key.queue.count)
    } else {
      entry.slot = occupySlot(entry.position, isReopened)
    }
    key.queue.append(entry)
    readyIfStartable(key)
  }

  /// What waits of a key is of no concern any more once there is something newer.
  func conflate(_ key: Key) {
    // A person is to decide about what is held.
    if let behind = key.behind, behind.due == nil { return }
    guard !key.queue.isEmpty else { return }
    if key.behind != nil { forget(key.queue) }
    for entry in key.queue {
      handled += 1
      passed(entry, key)
    }
    key.queue = []
  }

  /// An event of a key that is behind, or only where it is.
  ///
  /// - Parameter place: Among those of its key.
  func kept(_ entry: Entry, at place: Int) -> Entry {
    guard place < limits.eventsKept, eventsKept < limits.eventsKeptInAll, entry.event != nil else {
      return Entry(position: entry.position)
    }
    eventsKept += 1
    return entry.alone
  }

  /// They are no longer among what waits of a key that is behind.
  func forget(_ entries: some Collection<Entry>) {
    positionsKept -= entries.count
    eventsKept -= entries.count { $0.event != nil }
  }

  func occupySlot(_ position: Int64, _ isReopened: Bool) -> Int {
    slots.append(Slot(position: position, isReopened: isReopened))
    undone += 1
    return firstSlot + slots.count - 1
  }

  /// Everything up to here has been read.
  func settle(at position: Int64) {
    admitted = max(admitted, position)
    if undone == 0 { highest = max(highest, admitted) }
  }
}
