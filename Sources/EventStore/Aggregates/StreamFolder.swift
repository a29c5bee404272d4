package import FoundationEssentials
internal import Glibc

/// How far a stream was folded.
package struct FoldedRange: Sendable {
  /// The last event in it; 0: none.
  package var version = 0
  package var eventID: UUID?
  /// No event in it happened later.
  package var latestTime: Date?
  /// The data keys of the events in it.
  package var keyIDs: Set<UUID> = []
  /// The snapshot that it began from; 0: none.
  package var snapshotVersion = 0
  package var snapshotCreatedAt: Date?
  /// How many events were read and applied.
  package var eventsRead = 0

  /// No event up to the version was left out.
  var isWhole: Bool { version == snapshotVersion + eventsRead }

  fileprivate init() {}

  fileprivate init(_ snapshot: Snapshot) {
    version = snapshot.version
    eventID = snapshot.eventID
    latestTime = snapshot.latestTime
    keyIDs = snapshot.keyIDs
    snapshotVersion = snapshot.version
    snapshotCreatedAt = snapshot.createdAt
  }

  fileprivate mutating func append(_ events: [RecordedEvent]) {
    guard let last = events.last else { return }
    version = last.version
    eventID = last.id
    eventsRead += events.count
    var latest = latestTime ?? last.time
    var key: UUID?
    for event in events {
      latest = max(latest, event.time)
      if event.keyID != key, let id = event.keyID {
        key = id
        keyIDs.insert(id)
      }
    }
    latestTime = latest
  }
}

/// A stream's state at one of its versions.
@dynamicMemberLookup
package struct Folded<State: Sendable>: Sendable {
  package var state: State
  package var range = FoldedRange()

  /// Before the first event.
  package init(state: State) { self.state = state }

  init(state: State, _ snapshot: Snapshot) {
    self.state = state
    range = FoldedRange(snapshot)
  }

  package subscript<V>(dynamicMember path: KeyPath<FoldedRange, V>) -> V { range[keyPath: path] }
}

/// Folds streams, from the newest snapshot that fits.
package struct StreamFolder<F: Fold>: Sendable {
  package let log: any EventLog
  package let fold: F
  /// `nil`: always from the first event.
  package let snapshots: (any SnapshotStore)?

  package init(_ log: any EventLog, _ fold: F, snapshots: (any SnapshotStore)?) {
    self.log = log
    self.fold = fold
    self.snapshots = snapshots
  }

  /// The state of `stream` at `moment`; version 0 for a stream without events by then.
  ///
  /// - Throws: ``ReadError``, ``AggregateError``: `event`, `missing`, `versionNotReached`.
  package func state(of stream: StreamName, at moment: Moment) async throws -> Folded<F.State> {
    if case .version(let asked) = moment, asked < 1 {
      let last = try await log.version(of: stream) ?? 0
      throw last == 0 ? AggregateError.notFound(stream) : .versionNotReached(stream, asked: asked, last: last)
    }
    var folded = try await start(of: stream, at: moment)
    try await advance(&folded, stream, to: moment)
    if case .version(let asked) = moment, folded.version < asked {
      let last = try await log.version(of: stream) ?? 0
      // Appended to between the two looks.
      if last >= asked {
        try await advance(&folded, stream, to: moment)
      } else {
        throw last == 0
          ? AggregateError.notFound(stream) : .versionNotReached(stream, asked: asked, last: last)
      }
    }
    return folded
  }

  /// The state of the newest snapshot that fits, or the one before the first event.
  private func start(of stream: StreamName, at moment: Moment) async throws -> Folded<F.State> {
    let (version, time): (Int, Date?) =
      switch moment {
      case .latest: (.max, nil)
      case .version(let version): (version, nil)
      case .time(let time): (.max, time)
      }
    guard let snapshot = try await snapshots?.latest(of: stream, fold.shape, upTo: version, until: time),
      let state = try? fold.decode(snapshot.state), let again = try? fold.encode(state),
      // What was stored and is not read, or is read as something else, shows here: a renamed key, say.
      JSONText.isSame(again.bytes, snapshot.state.bytes)
    else { return Folded(state: fold.initialState()) }
    return Folded(state: state, snapshot)
  }

  /// Applies what comes after the state, up to `moment`.
  package func advance(
    _ folded: inout Folded<F.State>, _ stream: StreamName, to moment: Moment
  ) async throws {
    guard folded.version < .max else { return }
    var range = StreamRange.from(folded.version + 1)
    switch moment {
    case .latest: break
    case .version(let version):
      guard version > folded.version else { return }
      range.versions = folded.version + 1...version
    case .time(let time): range.until = time
    }
    // The next page is read and opened while this one is decoded.
    let pages = PageReader(log.read(stream, range).pages)
    var current = try await pages.next()
    while let page = current {
      try Task.checkCancellation()
      async let next = pages.next()
      if range.until == nil { try Self.check(page, follows: folded.version, of: stream) }
      apply(page, try await steps(page), to: &folded)
      current = try await next
    }
  }

  /// Nothing may lie between the version and the events, nor between them.
  package static func check(
    _ events: [RecordedEvent], follows version: Int, of stream: StreamName
  ) throws(AggregateError) {
    guard let last = events.last, last.version != version + events.count else { return }
    let before = zip((version + 1)..., events).first { $0 != $1.version }
    throw .missing(stream, version: before?.0 ?? last.version)
  }

  package func apply(_ events: [RecordedEvent], _ steps: [F.Step?], to folded: inout Folded<F.State>) {
    fold.apply(steps, to: &folded.state)
    folded.range.append(events)
  }

  // MARK: Decoding

  private static var cores: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
  /// Fewer are decoded faster than another thread is woken.
  private static var eventsWorthATask: Int { 64 }

  /// What each event says, decoded on several cores where there are many.
  package func steps(_ page: [RecordedEvent]) async throws -> [F.Step?] {
    let parts = min(Self.cores, page.count / Self.eventsWorthATask)
    guard parts > 1 else { return try steps(page, page.indices) }
    return try await withThrowingTaskGroup(of: (part: Int, steps: [F.Step?]).self) { group in
      let bounds = (0...parts).map { $0 * page.count / parts }
      for part in 1..<parts {
        group.addTask { (part, try steps(page, bounds[part]..<bounds[part + 1])) }
      }
      let first = Result { try steps(page, 0..<bounds[1]) }
      var parted = [[F.Step?]](repeating: [], count: parts)
      parted[0] = try first.get()
      for try await (part, steps) in group { parted[part] = steps }
      return Array(parted.joined())
    }
  }

  private func steps(_ page: [RecordedEvent], _ range: Range<Int>) throws -> [F.Step?] {
    // Where they lie: a copy of an event would count up and down each of its parts.
    try page.withUnsafeBufferPointer { events in
      var steps: [F.Step?] = []
      steps.reserveCapacity(range.count)
      for index in range {
        do throws(CodecError) {
          steps.append(try fold.step(events[index]))
        } catch {
          throw AggregateError.event(events[index].stream, version: events[index].version, error)
        }
      }
      return steps
    }
  }

  // MARK: Snapshots

  /// Whether the policy wants a snapshot of what was folded. Never of a state that lacks some of the events up to its
  /// version, as that at a time may.
  package func isSnapshotDue(_ folded: Folded<F.State>, now: Date = Date()) -> Bool {
    let policy = fold.snapshotPolicy
    let events = folded.version - folded.snapshotVersion
    guard snapshots != nil, folded.range.isWhole, events >= policy.smallestGrowth else { return false }
    return policy.isDue(
      SnapshotPolicy.Growth(
        events: events, age: folded.snapshotCreatedAt.map { .seconds(now.timeIntervalSince($0)) },
        state: folded.state, version: folded.version))
  }

  /// The snapshot of a state that was folded from the log.
  ///
  /// - Returns: `nil` where the state does not come back from its own encoding: a load with it would not be the full
  ///   replay.
  package func snapshot(_ folded: Folded<F.State>, of stream: StreamName) -> Snapshot? {
    guard folded.version > 0, folded.range.isWhole, let eventID = folded.eventID, let latestTime = folded.latestTime,
      let payload = try? fold.encode(folded.state), let again = try? fold.decode(payload),
      isSame(folded.state, again)
    else { return nil }
    return Snapshot(
      stream: stream, shape: fold.shape, version: folded.version, eventID: eventID, latestTime: latestTime,
      state: payload, keyIDs: folded.keyIDs)
  }

  /// As the state's own `==` says, else by what they are encoded to.
  package func isSame(_ left: F.State, _ right: F.State) -> Bool {
    func equal<E: Equatable>(_ left: E, _ right: Any) -> Bool { left == right as? E }
    if let left = left as? any Equatable { return equal(left, right) }
    guard let left = try? fold.encode(left), let right = try? fold.encode(right) else { return false }
    return JSONText.isSame(left.bytes, right.bytes)
  }
}

/// The pages of a sequence, for a task that lets another one read ahead.
package actor PageReader {
  private var iterator: EventSequence.Pages.Iterator

  package init(_ pages: EventSequence.Pages) { iterator = pages.makeAsyncIterator() }

  /// One call at a time.
  package func next() async throws(ReadError) -> [RecordedEvent]? {
    var iterator = iterator
    return try await iterator.next()
  }
}
