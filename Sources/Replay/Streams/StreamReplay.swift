package import EventStore
package import FoundationEssentials

/// A stream's state at one of its versions, as JSON.
package struct StreamState: Sendable {
  package let version: Int
  /// Of the last event in it.
  package let time: Date
  package let json: [UInt8]
  /// Where the state's fields came from, if that is known.
  package let origins: [String: Int]
  /// How many events were read: those after the snapshot that it began from.
  package let eventsRead: Int
  package let snapshotVersion: Int

  package init(
    version: Int, time: Date, json: [UInt8], origins: [String: Int] = [:], eventsRead: Int, snapshotVersion: Int
  ) {
    self.version = version
    self.time = time
    self.json = json
    self.origins = origins
    self.eventsRead = eventsRead
    self.snapshotVersion = snapshotVersion
  }
}

/// One event, and what it changed.
package struct StreamStep: Sendable {
  package let event: RecordedEvent
  package let changes: [FieldChange]
  /// After the event, as JSON.
  package let json: [UInt8]
}

/// What one stream was, told by whatever folds it.
package protocol StreamReplay: Sendable {
  /// For messages: what the state is of.
  var name: String { get }
  var shape: SnapshotShape { get }

  /// - Throws: `AggregateError`, `ReadError`.
  func state(of stream: StreamName, at moment: Moment) async throws -> StreamState

  /// Each event up to a moment, from version `first` on, with what it changed.
  func steps(
    of stream: StreamName, from first: Int, at moment: Moment, _ body: (StreamStep) async throws -> Void
  ) async throws

  /// Makes a snapshot of the stream as it is, unless there is one of that version.
  ///
  /// - Returns: The version that it is of; `nil` where none can be kept.
  func buildSnapshot(of stream: StreamName) async throws -> Int?

  /// Compares a snapshot with a full replay.
  func verify(_ snapshot: Snapshot) async throws -> Bool

  /// A snapshot's state as it is shown.
  func display(_ snapshot: Snapshot) throws -> [UInt8]
}

/// By a ``Fold``.
package struct FoldReplay<F: Fold>: StreamReplay {
  package let name: String
  private let log: any EventLog
  private let fold: F
  private let folder: StreamFolder<F>
  private let origins: @Sendable (F.State) -> [String: Int]

  package init(
    _ name: String, _ log: any EventLog, _ fold: F, usesSnapshots: Bool = true,
    origins: @escaping @Sendable (F.State) -> [String: Int] = { _ in [:] }
  ) {
    self.name = name
    self.log = log
    self.fold = fold
    self.origins = origins
    folder = StreamFolder(log, fold, snapshots: usesSnapshots ? log.snapshots : nil)
  }

  package var shape: SnapshotShape { fold.shape }

  package func state(of stream: StreamName, at moment: Moment) async throws -> StreamState {
    let folded = try await folder.state(of: stream, at: moment)
    guard folded.version > 0 else {
      // Says whether there is no stream, or none by then.
      _ = try await moment.range(of: stream, in: log)
      throw AggregateError.notFound(stream)
    }
    let last = try await log.read(stream, StreamRange(versions: folded.version...folded.version)).collect().first
    return StreamState(
      version: folded.version, time: last?.time ?? folded.latestTime ?? .distantPast,
      json: try fold.display(folded.state), origins: origins(folded.state), eventsRead: folded.eventsRead,
      snapshotVersion: folded.snapshotVersion)
  }

  package func steps(
    of stream: StreamName, from first: Int, at moment: Moment, _ body: (StreamStep) async throws -> Void
  ) async throws {
    let range = try await moment.range(of: stream, in: log)
    // Whatever lies before is folded at once.
    var folded =
      first > 1 ? try await folder.state(of: stream, at: .version(first - 1)) : Folded(state: fold.initialState())
    var json = folded.version == 0 ? Array("{}".utf8) : try fold.display(folded.state)
    var rest = range
    guard first <= range.versions.upperBound else { return }
    rest.versions = first...range.versions.upperBound
    for try await page in log.read(stream, rest).pages {
      if rest.until == nil { try StreamFolder<F>.check(page, follows: folded.version, of: stream) }
      for (event, step) in zip(page, try await folder.steps(page)) {
        folder.apply([event], [step], to: &folded)
        let next = try fold.display(folded.state)
        try await body(StreamStep(event: event, changes: JSONChanges.between(json, next), json: next))
        json = next
      }
    }
  }

  package func buildSnapshot(of stream: StreamName) async throws -> Int? {
    let folded = try await folder.state(of: stream, at: .latest)
    guard folded.version > 0 else { throw AggregateError.notFound(stream) }
    if folded.snapshotVersion == folded.version { return folded.version }
    guard let snapshot = folder.snapshot(folded, of: stream), let snapshots = log.snapshots else { return nil }
    return try await snapshots.save(snapshot) ? folded.version : nil
  }

  package func verify(_ snapshot: Snapshot) async throws -> Bool {
    let full = try await StreamFolder(log, fold, snapshots: nil)
      .state(of: snapshot.stream, at: .version(snapshot.version))
    guard full.eventID == snapshot.eventID, full.latestTime == snapshot.latestTime,
      let state = try? fold.decode(snapshot.state)
    else { return false }
    return folder.isSame(state, full.state)
  }

  package func display(_ snapshot: Snapshot) throws -> [UInt8] { try fold.display(fold.decode(snapshot.state)) }
}

extension StreamReplay where Self == FoldReplay<MergedFold> {
  /// Without a declared aggregate: the latest of every field.
  package static func latestFields(
    _ log: any EventLog, _ codec: EventCodec = EventCodec(), usesSnapshots: Bool = true
  ) -> Self {
    FoldReplay("latest fields", log, MergedFold(codec), usesSnapshots: usesSnapshots) { state in
      Dictionary(state.fields.map { ($0.name, $0.version) }, uniquingKeysWith: { $1 })
    }
  }
}

/// By a declared aggregate.
package func aggregateReplay<A: Aggregate>(
  _ type: A.Type, _ log: any EventLog, _ codec: EventCodec, usesSnapshots: Bool = true
) -> any StreamReplay {
  FoldReplay(A.category, log, AggregateFold<A>(codec), usesSnapshots: usesSnapshots)
}
