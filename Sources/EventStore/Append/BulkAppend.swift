internal import DequeModule
internal import FoundationEssentials
internal import PostgreSQL

/// Appends many events of many streams in exactly the given order, positions included, and skips those that are there
/// already, by their ids and content: for imports.
///
/// One connection, several batches under way. A batch is written whole or not at all, and of each stream the log always
/// holds a beginning of the input; doing the same again adds the rest. (Where a batch is refused, by a full disk say, up to
/// two that were sent behind it may be written although it is not.) Between batches other writers may append to the same
/// streams; events then follow theirs, and those of the batch that met them may come behind later ones of other streams:
/// the order within each stream is always that of the input.
public final class BulkAppend {
  /// How many events an import has dealt with. Those that were left out are in neither number.
  public struct Progress: Sendable, Hashable {
    /// Written by this object.
    public var added = 0
    /// There before.
    public var skipped = 0
  }

  private struct Row {
    let stream: StreamName
    let event: EventData
    let version: Int?
    let line: Int?
  }

  private final class Stream {
    let entry: StreamDirectory.Entry
    /// Where the stream will be once everything that was sent is written.
    var version: Int
    /// Where it was seen to be.
    var committed: Int
    let isPlain: Bool
    /// The events that were there when this import met the stream.
    let known: KnownEvents

    init(_ entry: StreamDirectory.Entry, isPlain: Bool, known: KnownEvents) {
      self.entry = entry
      version = Int(known.lastVersion)
      committed = version
      self.isPlain = isPlain
      self.known = known
    }
  }

  /// What a batch has for one stream.
  private struct Part {
    let stream: Stream
    let name: StreamName
    var events: [SealedEvent] = []
    var keys: [DataKeyRow] = []
  }

  private struct Flight {
    let rows: [Row]
    let parts: [SealedAppend]
    let result: PendingResult
    /// The verdicts of its parts, in order.
    let verdicts: (Rows) -> [Verdict]?
  }

  private static let batchEvents = 1000
  private static let batchBytes = 1 << 20
  private static let batchesInFlight = 3
  /// Ids of known events that are read at once.
  private static let idsAtOnce = 10_000

  private let log: PostgreSQLEventLog
  private var lease: ConnectionPool.Lease?
  private var rows: [Row] = []
  private var bytes = 0
  private var streams: [StreamName: Stream] = [:]
  private var flights: Deque<Flight> = []
  /// How often in a row others were met.
  private var deadlocks = 0
  private let leavingOut: ((_ problem: String, _ line: Int?) -> Void)?
  private let decoder: EventDecoder
  /// So far. Events count as added once the server has answered for them: those under way are not in it.
  public private(set) var progress = Progress()
  /// Where the event came from that ``AppendError/duplicateEventID(id:stream:)`` tells of, or that would get another version.
  public private(set) var refusedLine: Int?

  /// - Parameter leavingOut: Told of each event, and where it comes from, that would get another version than it must have, or whose id is there
  ///   with other content, and that is left out therefore. Without it such an event is an error; then nothing that
  ///   follows it is written.
  public init(_ log: PostgreSQLEventLog, leavingOut: ((_ problem: String, _ line: Int?) -> Void)? = nil) {
    self.log = log
    decoder = log.makeDecoder()
    self.leavingOut = leavingOut
  }

  /// Adds an event to the end of `stream`.
  ///
  /// - Parameters:
  ///   - version: Where it must come to stand in its stream; `nil`: wherever the stream ends.
  ///   - line: Where it comes from, for the words of an error that is found only later.
  /// - Throws: ``AppendError``: `invalid` for an event that is wrong by itself, which is as if it had not been given, or
  ///   for an earlier one that would get another version; `duplicateEventID` for an earlier one.
  public func append(
    _ event: EventData, to stream: StreamName, version: Int? = nil, line: Int? = nil
  ) async throws(AppendError) {
    guard !log.configuration.isReadOnly else { throw .invalid("the log was opened read-only") }
    try AppendChecks.check(event, log.configuration.maximumPayloadBytes)
    rows.append(Row(stream: stream, event: event, version: version, line: line))
    bytes += event.payload.bytes.count
    if rows.count >= Self.batchEvents || bytes >= Self.batchBytes { try await flush() }
  }

  /// Waits until everything is written.
  @discardableResult
  public func finish() async throws(AppendError) -> Progress {
    try await flush()
    while !flights.isEmpty { try await land() }
    lease = nil
    return progress
  }

  private func flush() async throws(AppendError) {
    guard !rows.isEmpty else { return }
    let batch = rows
    rows.removeAll(keepingCapacity: true)
    bytes = 0
    try await send(batch)
    while flights.count >= Self.batchesInFlight { try await land() }
  }

  /// - Parameter isAgain: Whether others have appended to the same streams meanwhile, and may go on.
  private func send(_ batch: [Row], isAgain: Bool = false) async throws(AppendError) {
    let lease = try await meet(batch)
    try await compare(batch, on: lease)
    var sent: [Row] = []
    var order: [Int] = []
    var partOf: [StreamName: Int] = [:]
    var parts: [Part] = []
    var misfit = ""
    for row in batch {
      guard let stream = streams[row.stream] else { preconditionFailure("met above") }
      guard stream.known[row.event.id] == nil else { continue }
      let version = stream.version + (partOf[row.stream].map { parts[$0].events.count } ?? 0) + 1
      if let wanted = row.version, wanted != version {
        misfit = Self.misfit(row, version)
        guard let leavingOut else {
          refusedLine = row.line
          break
        }
        leavingOut(misfit, row.line)
        continue
      }
      let key = try stream.isPlain ? nil : key(for: row.event.subject ?? row.stream.description)
      let event = log.sealer.seal(row.event, for: row.stream, key: key?.key)
      let part: Int
      if let known = partOf[row.stream] {
        part = known
      } else {
        part = parts.count
        partOf[row.stream] = part
        parts.append(Part(stream: stream, name: row.stream))
      }
      parts[part].events.append(event)
      if let new = key?.row, !parts[part].keys.contains(where: { $0.id == new.id }) { parts[part].keys.append(new) }
      order.append(part)
      sent.append(row)
    }
    if !parts.isEmpty { launch(sent, parts, order, mayBePlaced: !isAgain, on: lease.connection) }
    if leavingOut == nil, !misfit.isEmpty { throw .invalid(misfit) }
  }

  /// What is there already must be what was to be written.
  private func compare(_ batch: [Row], on lease: ConnectionPool.Lease) async throws(AppendError) {
    let known = batch.compactMap { row in streams[row.stream]?.known[row.event.id].map { (row, position: $0) } }
    guard !known.isEmpty else { return }
    let there = try await log.database { () throws(PostgreSQLError) in
      let rows = try await lease.connection.execute(
        log.queries.eventsAt, Parameters(BinaryArray(Array(Set(known.map(\.position))))))
      return try await decoder.events(rows) { () throws(PostgreSQLError) in lease.connection }
    }
    let recorded = Dictionary(there.map { ($0.position.rawValue, $0) }, uniquingKeysWith: { $1 })
    for (row, position) in known {
      if let recorded = recorded[position], AppendChecks.isSameImported(row.event, recorded),
        hasSameSubject(row, recorded)
      {
        progress.skipped += 1
        continue
      }
      let error = AppendError.duplicateEventID(id: row.event.id.uuidString.lowercased(), stream: row.stream)
      guard let leavingOut else {
        refusedLine = row.line
        throw error
      }
      leavingOut((row.line.map { "line \($0): " } ?? "") + error.description, row.line)
    }
  }

  /// Else whoever shreds the subject that the row names would leave this event behind.
  private func hasSameSubject(_ row: Row, _ recorded: RecordedEvent) -> Bool {
    guard let id = recorded.keyID, case .success(let key)? = log.keys.key(id) else { return true }
    return key.subject.isSameBytes(as: row.event.subject ?? row.stream.description)
  }

  private func launch(
    _ sent: [Row], _ parts: [Part], _ order: [Int], mayBePlaced: Bool, on connection: Connection
  ) {
    // Ascending ids, as the append function wants them.
    let sorted = parts.indices.sorted { parts[$0].stream.entry.id < parts[$1].stream.entry.id }
    var rank = [Int](repeating: 0, count: parts.count)
    for (new, old) in sorted.enumerated() { rank[old] = new }
    let appends = sorted.map { index in
      SealedAppend(
        stream: parts[index].name, entry: parts[index].stream.entry, expected: .exact(parts[index].stream.version),
        mayBePlaced: false, events: parts[index].events, newKeys: parts[index].keys)
    }
    // Nobody else's connection: what was committed on it is there as long as it works.
    let arePlaced = mayBePlaced && parts.allSatisfy { $0.stream.version <= $0.stream.committed }
    for part in parts { part.stream.version += part.events.count }
    let travelling = order.map { rank[$0] }
    if arePlaced {
      let call = PlacedCall(appends, interleaved: travelling)
      let result = call.send(on: connection, log.queries)
      flights.append(Flight(rows: sent, parts: appends, result: result, verdicts: call.verdicts))
    } else {
      let call = CheckedCall(appends, interleaved: travelling)
      let result = call.send(on: connection, log.queries)
      flights.append(Flight(rows: sent, parts: appends, result: result, verdicts: call.verdicts))
    }
  }

  private func key(for subject: String) throws(AppendError) -> DataKeys.Current {
    if let current = log.keys.current(for: subject) { return current }
    return try log.sealer.makeKey(for: subject)
  }

  private static func misfit(_ row: Row, _ version: Int) -> String {
    (row.line.map { "line \($0): " } ?? "")
      + "event \(row.event.id.uuidString.lowercased()) is version \(row.version ?? 0) of stream \(row.stream), but "
      + "would become version \(version): import whole streams, in order, into a store that lacks them"
  }

  /// Waits for the oldest batch.
  private func land() async throws(AppendError) {
    let flight = flights.removeFirst()
    var failed = settle(flight, try await Self.rows(of: flight))
    guard !failed.isEmpty else {
      deadlocks = 0
      return
    }
    // Someone else appended to these streams, perhaps the same import in another process. Batches that were sent after
    // this one have failed for them too: see where the streams are now, and send what is still missing, in order.
    var missing = flight.rows.filter { failed.contains($0.stream) }
    while let later = flights.popFirst() {
      let alsoFailed = settle(later, try await Self.rows(of: later))
      missing += later.rows.filter { alsoFailed.contains($0.stream) }
      failed.formUnion(alsoFailed)
    }
    for stream in failed { streams[stream] = nil }
    deadlocks += 1
    if deadlocks > 1 {
      do { try await Task.sleep(for: .milliseconds(Int.random(in: 1...10 * min(deadlocks, 20)))) } catch {
        throw .cancelled
      }
    }
    try await send(missing, isAgain: true)
  }

  /// - Returns: `nil`: nothing of it was written, because of others. They take streams in the order of their input, as this
  ///   one does: each may wait for the other.
  private static func rows(of flight: Flight) async throws(AppendError) -> Rows? {
    switch await flight.result.outcome() {
    case .success(let rows): return rows
    case .failure(let error) where error.sqlState == "40P01" || error.sqlState == "40001": return nil
    case .failure(let error) where error.isOutcomeUnknown: throw .outcomeUnknown(error)
    case .failure(let error): throw AppendError(error)
    }
  }

  /// Takes note of what was written; returns the streams of which nothing was.
  private func settle(_ flight: Flight, _ rows: Rows?) -> Set<StreamName> {
    // Someone was there before, in one of them: nothing was appended.
    guard let rows, let verdicts = flight.verdicts(rows) else { return Set(flight.parts.map(\.stream)) }
    var failed: Set<StreamName> = []
    for (part, verdict) in zip(flight.parts, verdicts) {
      log.keys.confirm(part, verdict)
      if case .appended(_, let firstVersion, _) = verdict {
        progress.added += part.events.count
        if let stream = streams[part.stream] {
          stream.committed = max(stream.committed, firstVersion + part.events.count - 1)
        }
      } else {
        failed.insert(part.stream)
      }
    }
    return failed
  }

  /// Learns where streams are that this import has not met, and which of their events are there.
  private func meet(_ batch: [Row]) async throws(AppendError) -> ConnectionPool.Lease {
    try await log.database { () throws(PostgreSQLError) in
      let lease: ConnectionPool.Lease
      if let current = self.lease { lease = current } else { lease = try await log.pool.lease() }
      self.lease = lease
      let connection = lease.connection
      log.sealer.prepare(for: connection)
      var new: Set<StreamName> = []
      var subjects: Set<String> = []
      for row in batch {
        if streams[row.stream] == nil { new.insert(row.stream) }
        // Those of streams that were met before may be forgotten by now.
        guard streams[row.stream]?.isPlain == false || row.event.subject != nil else { continue }
        let subject = row.event.subject ?? row.stream.description
        if log.keys.current(for: subject) == nil { subjects.insert(subject) }
      }
      if !new.isEmpty {
        // Committed before they are used, so that their ids are theirs for good.
        let names = BinaryArray(new.map(\.description).sorted())
        let made = try await connection.execute(log.queries.streamIDs, Parameters(names))
        let ids = made.indices.map { (StreamName(trusted: made.text($0, 0)), made.int64($0, 1)) }
        var known = try await events(of: ids.map(\.1), on: connection)
        for (name, id) in ids {
          let isPlain = log.plaintextCategories.contains(stream: name)
          streams[name] = Stream(
            log.directory.learn(name, id: id), isPlain: isPlain, known: known.removeValue(forKey: id) ?? KnownEvents())
          if !isPlain, log.keys.current(for: name.description) == nil { subjects.insert(name.description) }
        }
      }
      if !subjects.isEmpty { try await log.keys.fetch(subjects: Array(subjects), connection) }
      return lease
    }
  }

  /// Those that are there, of each of these streams that has any.
  private func events(
    of streams: [Int64], on connection: Connection
  ) async throws(PostgreSQLError) -> [Int64: KnownEvents] {
    var known: [Int64: KnownEvents] = [:]
    while true {
      let page = try await connection.execute(
        log.queries.streamEvents,
        Parameters(
          BinaryArray(streams), BinaryArray(streams.map { known[$0]?.lastVersion ?? 0 }), Int64(Self.idsAtOnce)),
        timeout: .seconds(600))
      for row in page.indices {
        known[page.int64(row, 0), default: KnownEvents()].append(
          page.uuid(row, 2), version: page.int64(row, 1), position: page.int64(row, 3))
      }
      guard page.count == Self.idsAtOnce else { break }
    }
    for index in known.values.indices { known.values[index].sort() }
    return known
  }
}
