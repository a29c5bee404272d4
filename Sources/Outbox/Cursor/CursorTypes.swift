internal import EventStore
internal import FoundationEssentials

/// How far a cursor is: every event of its shards up to ``position`` is done, but for those in ``open``, those of keys that
/// have a row of their own (``KeyRow``), and the single events that are to come (``SingleEvent``).
struct CursorPlace: Hashable, Sendable {
  var position: Int64
  /// In order.
  var open: [Int64] = []
  /// By shard, or empty: what is done already beyond the position.
  var floors: [Int64] = []

  /// Without what is open of other shards: after a split both halves name it.
  func restricted(to open: [Int64]) -> CursorPlace {
    var place = self
    place.open = open
    return place
  }

  /// Both in one, for all shards of both. What is open of each must be of its own shards.
  func merged(with other: CursorPlace, own: ShardSet, others: ShardSet) -> CursorPlace {
    func reached(_ place: CursorPlace, _ shard: UInt8) -> Int64 {
      max(place.position, place.floors.isEmpty ? 0 : place.floors[Int(shard)])
    }
    let position = min(self.position, other.position)
    let floors = (UInt8.min...UInt8.max).map { shard in
      if own.contains(shard) { return reached(self, shard) }
      return others.contains(shard) ? reached(other, shard) : position
    }
    return CursorPlace(
      position: position, open: Set(open + other.open).sorted(),
      floors: floors.contains { $0 > position } ? floors : [])
  }
}

/// An event on its way, in memory or not.
struct Entry: Sendable {
  let position: Int64
  /// Its place among those that hold the cursor back; -1: it does not.
  var slot = -1
  /// How often it has failed.
  var attempts = 0
  var firstFailed: CursorState.Instant?
  var isSingle = false
  var reason: SingleEvent.Reason?
  private var page: [RecordedEvent]
  private var index: Int

  /// One whose event is not in memory.
  init(position: Int64) {
    self.position = position
    page = []
    index = 0
  }

  init(position: Int64, page: [RecordedEvent], index: Int) {
    self.position = position
    self.page = page
    self.index = index
  }

  var event: RecordedEvent? { index < page.count ? page[index] : nil }

  mutating func hold(_ event: RecordedEvent) {
    page = [event]
    index = 0
  }

  /// Without the others of its page, and holding no cursor back.
  var alone: Entry {
    var alone = self
    if let event { alone.hold(event) }
    alone.slot = -1
    return alone
  }
}

/// Events of one key that have started.
struct Flight: Sendable {
  let number: UInt64
  let key: String
  let shard: UInt8
  let first: Entry
  let more: [Entry]
}

/// What became of an event.
enum Outcome: Sendable {
  case done
  /// It failed, and comes again.
  case retry(after: Duration, problem: String)
  /// It comes again; that uses no attempt.
  case postponed(Duration)
  /// It was given up.
  case parked(problem: String, fingerprint: String, holdsKey: Bool)
}

/// A key that is behind its cursor.
struct KeyRow: Sendable, Hashable {
  let key: String
  let shard: UInt8
  /// Up to here it is done.
  let position: Int64
  /// Nanoseconds; `nil`: held.
  let delay: Int64?
  /// Below 0: it is where its cursor is.
  let attempts: Int
  /// Nanoseconds since its next event failed first.
  let age: Int64?
  let problem: String?
}

/// An event that is to come, whatever its cursor says.
struct SingleEvent: Sendable, Hashable {
  enum Reason: String, Sendable {
    case redrive, timer, replay
  }

  let position: Int64
  let key: String
  let shard: UInt8
  let reason: Reason
  /// Nanoseconds.
  let delay: Int64
  /// Below 0: it has come.
  let attempts: Int
  let age: Int64?
  let problem: String?
}

/// An event that was given up.
struct DeadLetter: Sendable, Hashable {
  let position: Int64
  let key: String
  let shard: UInt8
  let stream: String
  let version: Int
  let type: String
  let eventID: UUID
  let problem: String
  let fingerprint: String
  let attempts: Int
  /// Nanoseconds since it failed first.
  let age: Int64
  let holdsKey: Bool
}

/// What is to be written down of a cursor, in one transaction.
struct CursorChanges: Sendable {
  let place: CursorPlace
  /// Events that were done or given up.
  let handled: Int
  let keys: [KeyRow]
  let singles: [SingleEvent]
  let deadLetters: [DeadLetter]

  /// Whether the cursor moves and nothing else.
  var isOnlyMove: Bool { keys.isEmpty && singles.isEmpty && deadLetters.isEmpty }
}

extension Duration {
  var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    return seconds.multipliedReportingOverflow(by: 1_000_000_000).overflow
      ? .max / 4 : min(.max / 4, seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
  }
}
