public import FoundationEssentials

/// The log of events: append, read, follow. `PostgreSQLEventLog` keeps it in PostgreSQL; `InMemoryEventLog` of
/// EventStoreTesting keeps it in memory for tests. Both pass the same conformance suite.
public protocol EventLog: Sendable {
  /// Appends to one or several streams: all of it, or none.
  ///
  /// - Parameter appends: At least one; every stream at most once; at least one event each.
  /// - Returns: What each append did, in the order of `appends`. Retrying with the same event ids returns the first
  ///   result again and writes nothing. Positions ascend within each stream; which stream comes first is not promised.
  /// - Throws: ``AppendError``. After every case but `outcomeUnknown` nothing was written.
  func append(_ appends: [StreamAppend]) async throws(AppendError) -> [Appended]

  /// One stream's events, in the order of their versions, or backwards.
  ///
  /// An unknown stream gives an empty sequence.
  func read(_ stream: StreamName, _ range: StreamRange) -> EventSequence

  /// The events of the whole log after `position` that are decided when reading starts, in order of position.
  ///
  /// Never skips an event that commits later: the sequence ends at the horizon.
  func readAll(after position: Position, where filter: LogFilter) -> EventSequence

  /// The events after `position`: first those that are there, then each new one as it is committed.
  ///
  /// In order of position, each once, none skipped. It ends only by cancellation, by leaving the loop, or by an
  /// error; go on after the last position that you have handled. Reading is pulled: a slow consumer holds back its own
  /// reading and nothing else.
  func subscribe(after position: Position, where filter: LogFilter) -> EventSequence

  /// The last version of a stream, or `nil` if it has no events.
  func version(of stream: StreamName) async throws(ReadError) -> Int?

  /// Where snapshots are kept; `nil`: nowhere, and every load is a full replay.
  var snapshots: (any SnapshotStore)? { get }
}

/// Which part of a stream to read, and in which direction.
public struct StreamRange: Sendable, Hashable {
  /// The versions to read, from 1, both ends included; any part past the end of the stream is empty.
  public var versions: ClosedRange<Int>
  /// In which order the versions come: the same ones either way, unless ``limit`` cuts them off.
  public var direction: Direction
  /// Only events whose ``RecordedEvent/time`` is not after this, wherever in the stream they stand; `nil`: all.
  public var until: Date?
  /// At most so many events: the first ones in the ``direction``. 0 or less: none.
  public var limit: Int

  /// By version, ascending or descending.
  public enum Direction: Sendable, Hashable { case forwards, backwards }

  /// Default: the whole stream, forwards.
  public init(
    versions: ClosedRange<Int> = 1...Int.max, direction: Direction = .forwards, until: Date? = nil,
    limit: Int = .max
  ) {
    self.versions = versions
    self.direction = direction
    self.until = until
    self.limit = limit
  }

  /// The whole stream, forwards.
  public static let all = StreamRange()
  /// The whole stream, the last event first.
  public static let backwards = StreamRange(direction: .backwards)
  /// This version and all later ones, forwards. Less than 1 counts as 1.
  public static func from(_ version: Int) -> StreamRange { StreamRange(versions: max(1, version)...Int.max) }
  /// The first version up to this one, with it, forwards. Less than 1: none.
  public static func upTo(_ version: Int) -> StreamRange { StreamRange(versions: min(1, version)...version) }
  /// All events that had happened by then, forwards.
  public static func until(_ time: Date) -> StreamRange { StreamRange(until: time) }
}

/// Which events of the log to read. An empty list means: all. Names are compared byte by byte; none is a pattern.
public struct LogFilter: Sendable, Hashable {
  /// Only events of streams of these categories …
  public var categories: [String]
  /// … and of these stored types.
  public var types: [String]
  /// Patterns of SQL's LIKE: further types.
  package var typePatterns: [String] = []
  /// `nil`: all.
  package var shards: ShardSet?

  /// An event must pass both lists.
  public init(categories: [String] = [], types: [String] = []) {
    self.categories = categories
    self.types = types
  }

  /// Every event.
  public static let all = LogFilter()
  /// All events of one category.
  public static func category(_ name: String) -> LogFilter { LogFilter(categories: [name]) }
  /// Events of these stored types, in all categories. No name at all: every event.
  public static func types(_ names: String...) -> LogFilter { LogFilter(types: names) }

  /// Whether an event passes, by its category and type: byte by byte, as the store compares them.
  package func admits(_ event: RecordedEvent) -> Bool {
    func isIn(_ names: [String], _ name: String) -> Bool {
      names.isEmpty || names.contains { $0.isSameBytes(as: name) }
    }
    return isIn(categories, event.stream.category) && isIn(types, event.type)
  }
}

extension EventLog {
  public var snapshots: (any SnapshotStore)? { nil }

  /// Appends `events` to the end of `stream`: all of them, or none.
  ///
  /// - Parameters:
  ///   - events: At least one.
  ///   - expected: What the writer believes about the stream; see ``ExpectedVersion``.
  /// - Returns: The versions and positions of the events. A retry with the same ids returns the first result.
  /// - Throws: ``AppendError``. After every case but `outcomeUnknown` nothing was written.
  @discardableResult
  public func append(
    _ events: [EventData], to stream: StreamName, expecting expected: ExpectedVersion
  ) async throws(AppendError) -> Appended {
    try await append([StreamAppend(events, to: stream, expecting: expected)])[0]
  }

  /// The whole stream, forwards; see ``read(_:_:)``.
  public func read(_ stream: StreamName) -> EventSequence { read(stream, .all) }
  /// Events of all categories and types; see ``readAll(after:where:)``. Default: from the first one on.
  public func readAll(after position: Position = .start) -> EventSequence { readAll(after: position, where: .all) }
  /// Events of all categories and types; see ``subscribe(after:where:)``. Default: from the first one on.
  public func subscribe(after position: Position = .start) -> EventSequence {
    subscribe(after: position, where: .all)
  }
}
