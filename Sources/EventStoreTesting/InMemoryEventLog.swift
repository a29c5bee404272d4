public import EventStore
public import FoundationEssentials
internal import PostgreSQL
internal import Synchronization

/// An event log in memory, for tests of services: the behaviour of `PostgreSQLEventLog` without a server.
///
/// Both pass the same conformance suite. Nothing is encrypted and nothing survives the process. Snapshots are made by
/// loads and updates: `AggregateStore.run()` finds none to make.
public final class InMemoryEventLog: EventLog {
  /// A larger payload is refused, in bytes.
  public let maximumPayloadBytes: Int
  private let now: @Sendable () -> Date
  private let store = Mutex(Store())
  private let arrivals = Arrivals()
  public let snapshots: (any SnapshotStore)? = InMemorySnapshots()

  private struct Store {
    /// The whole log: the event at index `i` has position `i + 1`.
    var events: [RecordedEvent] = []
    /// Each stream's events, as indices of the log.
    var streams: [StreamName: [Int]] = [:]
    /// Events appended without a known version, by which a retry is found.
    var unplaced: [StreamName: [UUID: Int]] = [:]
  }

  /// - Parameter now: The clock that stamps ``RecordedEvent/recordedAt``; microseconds are kept, as PostgreSQL does.
  public init(maximumPayloadBytes: Int = 16 << 20, now: @escaping @Sendable () -> Date = { Date() }) {
    self.maximumPayloadBytes = maximumPayloadBytes
    self.now = now
  }

  // MARK: Appending

  public func append(_ appends: [StreamAppend]) async throws(AppendError) -> [Appended] {
    let appends = TraceContext.carried(appends, by: nil)
    if Task.isCancelled { throw .cancelled }
    try AppendChecks.check(appends, maximumPayloadBytes: maximumPayloadBytes)
    let time = now().asRecorded
    let result = store.withLock { store in
      Result { () throws(AppendError) in try Self.append(appends, to: &store, at: time) }
    }
    let appended = try result.get()
    arrivals.announce()
    return appended
  }

  private enum Verdict {
    case free(last: Int)
    case earlier(Appended)
  }

  private static func append(
    _ appends: [StreamAppend], to store: inout Store, at time: Date
  ) throws(AppendError) -> [Appended] {
    var verdicts: [Verdict] = []
    // An earlier try that differs is told only when no part has a conflict.
    var difference: AppendError?
    for append in appends {
      do throws(AppendError) {
        verdicts.append(try verdict(append, store))
      } catch {
        guard case .duplicateEventID = error else { throw error }
        difference = difference ?? error
      }
    }
    if let difference { throw difference }
    let earlier = verdicts.compactMap { verdict -> Appended? in
      if case .earlier(let appended) = verdict { appended } else { nil }
    }
    if earlier.count == appends.count { return earlier }
    if let first = earlier.first {
      // Another part of this atomic append was there before, but not all of it: not the same append.
      let id = store.events[store.streams[first.stream, default: []][first.firstVersion - 1]].id
      throw .duplicateEventID(id: id.uuidString.lowercased(), stream: first.stream)
    }
    return zip(appends, verdicts).map { append, verdict in
      guard case .free(let last) = verdict else { preconditionFailure("earlier tries were handled above") }
      return write(append, after: last, to: &store, at: time)
    }
  }

  /// Whether the append can be done, was done before, or neither.
  private static func verdict(_ append: StreamAppend, _ store: Store) throws(AppendError) -> Verdict {
    let stream = store.streams[append.stream, default: []]
    let last = stream.count
    let expected: Int? =
      switch append.expected {
      case .exact(let version): version
      case .noStream: 0
      case .any, .streamExists: nil
      }
    if let expected {
      if expected == last { return .free(last: last) }
      if expected < last, store.events[stream[expected]].id == append.events[0].id {
        return .earlier(try earlier(append, stream.suffix(from: expected), store))
      }
    } else {
      let unplaced = store.unplaced[append.stream, default: [:]]
      // By the first id if it is there; another one that is there makes it a different append.
      if let event = append.events.first(where: { unplaced[$0.id] != nil }), let version = unplaced[event.id] {
        return .earlier(try earlier(append, stream.suffix(from: version - 1), store))
      }
      if append.expected == .any || last > 0 { return .free(last: last) }
    }
    throw .conflict(VersionConflict(stream: append.stream, expected: append.expected, actual: last))
  }

  /// The result of the earlier try, if it wrote the same events.
  private static func earlier(
    _ append: StreamAppend, _ rest: ArraySlice<Int>, _ store: Store
  ) throws(AppendError) -> Appended {
    let recorded = rest.prefix(append.events.count).map { store.events[$0] }
    let isSame =
      recorded.count == append.events.count && zip(append.events, recorded).allSatisfy(AppendChecks.isSame)
    guard isSame else {
      throw .duplicateEventID(id: recorded[0].id.uuidString.lowercased(), stream: append.stream)
    }
    return Appended(
      stream: append.stream, firstVersion: recorded[0].version, positions: recorded.map(\.position),
      wasDuplicate: true)
  }

  private static func write(
    _ append: StreamAppend, after last: Int, to store: inout Store, at time: Date
  ) -> Appended {
    var positions: [Position] = []
    for (offset, event) in append.events.enumerated() {
      let position = Position(Int64(store.events.count + 1))
      store.streams[append.stream, default: []].append(store.events.count)
      store.events.append(
        RecordedEvent(
          id: event.id, stream: append.stream, version: last + offset + 1, position: position,
          type: event.type,
          schemaVersion: event.schemaVersion, recordedAt: time, occurredAt: event.occurredAt?.asRecorded,
          metadata: event.metadata, payload: .success(event.payload)))
      if append.expected == .any || append.expected == .streamExists {
        store.unplaced[append.stream, default: [:]][event.id] = last + offset + 1
      }
      positions.append(position)
    }
    return Appended(
      stream: append.stream, firstVersion: last + 1, positions: positions, wasDuplicate: false)
  }

  // MARK: Reading

  public func read(_ stream: StreamName, _ range: StreamRange) -> EventSequence {
    EventSequence { OnePage { self.events(of: stream, range) } }
  }

  public func readAll(after position: Position, where filter: LogFilter) -> EventSequence {
    EventSequence { OnePage { self.events(after: position, filter).found } }
  }

  public func subscribe(after position: Position, where filter: LogFilter) -> EventSequence {
    EventSequence { LivePages(self, self.arrivals, after: position, filter) }
  }

  public func version(of stream: StreamName) async throws(ReadError) -> Int? {
    if Task.isCancelled { throw .cancelled }
    return store.withLock { $0.streams[stream]?.count }
  }

  private func events(of stream: StreamName, _ range: StreamRange) -> [RecordedEvent] {
    let events = store.withLock { store in store.streams[stream, default: []].map { store.events[$0] } }
    let inRange = events.filter { event in
      range.versions.contains(event.version) && range.until.map { event.time <= $0 } ?? true
    }
    let limit = max(0, range.limit)
    return range.direction == .forwards ? Array(inRange.prefix(limit)) : inRange.suffix(limit).reversed()
  }

  /// The matching events after a position, and the last position that was looked at.
  func events(after position: Position, _ filter: LogFilter) -> (found: [RecordedEvent], last: Position) {
    store.withLock { store in
      let found = store.events.dropFirst(max(0, Int(clamping: position.rawValue))).filter(filter.admits)
      return (found, max(position, Position(Int64(store.events.count))))
    }
  }
}
