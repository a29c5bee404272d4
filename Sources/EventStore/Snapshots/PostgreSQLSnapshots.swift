internal import FoundationEssentials
internal import Logging
internal import PostgreSQL

/// The snapshots table of a store.
///
/// The payload is an ``Envelope``, sealed under the data key of the events' subject and bound to everything that its
/// row says of it. `checksum` is SHA-256 of the same bytes and the envelope, so that damage is found in plaintext
/// categories too:
///   the additional data's metadata: "version" as int64 | fingerprint | latest_time as int64, microseconds since 1970
struct PostgreSQLSnapshots: SnapshotStore {
  let log: PostgreSQLEventLog
  /// Of one stream and shape.
  static let kept: Int32 = 3
  /// To look at for streams that have grown.
  private static let mostPositions: Int64 = 4_000

  func latest(
    of stream: StreamName, _ shape: SnapshotShape, upTo version: Int, until time: Date?
  ) async throws(ReadError) -> Snapshot? {
    try await log.reading { () throws(PostgreSQLError) in
      let lease = try await log.pool.lease()
      guard let entry = try await log.directory.entry(of: stream, lease.connection) else { return nil }
      var bound = version
      let time = time.map(Self.microsecond(upTo:))
      while bound > 0 {
        let rows = try await lease.connection.send(
          log.queries.latestSnapshot,
          Parameters(
            entry.id, shape.stateType, Int32(shape.schemaVersion), Bytea(shape.fingerprint), bound, time)
        ).promptRows()
        guard !rows.isEmpty else { return nil }
        if let snapshot = try await opened(rows, stream, shape, lease.connection) { return snapshot }
        // That one is damaged, or its key is gone: perhaps an older one will do.
        bound = Int(rows.int64(0, 0)) - 1
      }
      return nil
    }
  }

  /// The last whole microsecond up to `time`. The nearest one, which a parameter is rounded to, may be after it.
  private static func microsecond(upTo time: Date) -> Date {
    let nearest = time.microsecondsSince2000
    let isAfter = nearest > .min && Date(microsecondsSince2000: nearest) > time
    return Date(microsecondsSince2000: isAfter ? nearest - 1 : nearest)
  }

  private func opened(
    _ rows: Rows, _ stream: StreamName, _ shape: SnapshotShape, _ connection: Connection
  ) async throws(PostgreSQLError) -> Snapshot? {
    let data = rows.byteArray(0, 4)
    let row = Row(
      stream: stream, shape: shape, version: Int(rows.int64(0, 0)), eventID: rows.uuid(0, 1),
      latestTime: rows.int64(0, 2))
    guard row.checksum(data) == rows.byteArray(0, 3) else { return ignored(row, "its checksum does not fit") }
    guard
      case .success(let header) = data.withUnsafeBytes({ bytes in
        Result { () throws(PayloadError) in try Envelope.header(of: bytes) }
      })
    else { return ignored(row, "it is no envelope") }
    var key: DataKey?
    if case .sealed(let id) = header {
      if log.keys.key(id) == nil { try await log.keys.fetch(ids: [id], connection) }
      guard case .success(let found)? = log.keys.key(id) else { return ignored(row, "its data key does not open") }
      key = found
    } else if !log.plaintextCategories.contains(stream: stream) {
      return ignored(row, "it is plaintext in a sealed category")
    }
    let payload = data.withUnsafeBytes { bytes in
      Result { () throws(PayloadError) in try Envelope.open(bytes, key: key, context: row.context) }
    }
    guard case .success(let state) = payload else { return ignored(row, "it does not open") }
    return Snapshot(
      stream: stream, shape: shape, version: row.version, eventID: row.eventID,
      latestTime: Date(microsecondsSince2000: row.latestTime), state: state,
      keyIDs: key.map { [$0.id] } ?? [], createdAt: rows.date(0, 5))
  }

  private func ignored(_ row: Row, _ reason: String) -> Snapshot? {
    log.configuration.logger.warning(
      "A snapshot was ignored",
      metadata: ["stream": "\(row.stream)", "version": "\(row.version)", "reason": "\(reason)"])
    return nil
  }

  @discardableResult
  func save(_ snapshot: Snapshot) async throws(AppendError) -> Bool {
    try await log.database { () throws(PostgreSQLError) in
      guard !log.configuration.isReadOnly else { return false }
      let lease = try await log.pool.lease()
      guard let entry = try await log.directory.entry(of: snapshot.stream, lease.connection) else { return false }
      let row = Row(
        stream: snapshot.stream, shape: snapshot.shape, version: snapshot.version, eventID: snapshot.eventID,
        latestTime: snapshot.latestTime.microsecondsSince2000)
      let envelope: [UInt8]
      if snapshot.keyIDs.isEmpty, log.plaintextCategories.contains(stream: snapshot.stream) {
        envelope = Envelope.plaintext(snapshot.state)
      } else {
        guard let key = try await key(of: snapshot.keyIDs, lease.connection) else { return false }
        envelope = Envelope.seal(snapshot.state, key: key, context: row.context)
      }
      try await lease.connection.execute(
        log.queries.saveSnapshot,
        Parameters(
          entry.id, row.shape.stateType, Int32(row.shape.schemaVersion), Bytea(row.shape.fingerprint), row.version,
          row.eventID, snapshot.latestTime, Bytea(row.checksum(envelope)), Bytea(envelope), Self.kept))
      return true
    }
  }

  /// The key of the one subject that all these keys belong to.
  private func key(of ids: Set<UUID>, _ connection: Connection) async throws(PostgreSQLError) -> DataKey? {
    let unknown = ids.filter { log.keys.key($0) == nil }
    if !unknown.isEmpty { try await log.keys.fetch(ids: Array(unknown), connection) }
    var key: DataKey?
    for id in ids.sorted(by: { $0.uuidString < $1.uuidString }) {
      guard case .success(let found)? = log.keys.key(id) else { return nil }
      if let key, !key.subject.isSameBytes(as: found.subject) { return nil }
      key = found
    }
    return key
  }

  func grownStreams(
    of category: String, _ shape: SnapshotShape, by events: Int, after position: Position?
  ) async throws(ReadError) -> (streams: [StreamName], position: Position) {
    try await log.reading { () throws(PostgreSQLError) in
      let lease = try await log.pool.lease()
      let horizon = try await lease.connection.execute(log.queries.horizon).int64(0, 0)
      guard let position, horizon > position.rawValue,
        let id = try await log.directory.categoryIDs([category], lease.connection).first
      else { return ([], Position(horizon)) }
      // Of a flood of events only the last: a stream that grows is in them sooner or later.
      let first = max(position.rawValue, horizon - Self.mostPositions)
      let rows = try await lease.connection.execute(
        log.queries.grownStreams,
        Parameters(
          id, first, horizon, shape.stateType, Int32(shape.schemaVersion), Bytea(shape.fingerprint),
          events))
      return (rows.indices.map { StreamName(trusted: rows.text($0, 0)) }, Position(horizon))
    }
  }

  /// What a row says of its state.
  private struct Row {
    let stream: StreamName
    let shape: SnapshotShape
    let version: Int
    let eventID: UUID
    /// Microseconds since 2000.
    let latestTime: Int64

    var context: EnvelopeContext {
      EnvelopeContext(
        purpose: .snapshot, eventID: eventID, stream: stream.description, type: shape.stateType,
        schemaVersion: shape.schemaVersion, metadata: bound)
    }

    private var bound: [UInt8] {
      var bytes: [UInt8] = []
      bytes.appendBigEndian(Int64(version))
      bytes += shape.fingerprint
      bytes.appendBigEndian(latestTime &+ microsecondsFrom1970To2000)
      return bytes
    }

    func checksum(_ envelope: [UInt8]) -> [UInt8] {
      var bytes: [UInt8] = []
      withUnsafeBytes(of: eventID.uuid) { bytes += $0 }
      for text in [stream.description, shape.stateType] {
        bytes.appendBigEndian(Int64(text.utf8.count))
        bytes += text.utf8
      }
      bytes.appendBigEndian(Int64(shape.schemaVersion))
      return StateShape.sha256(bytes + bound + envelope)
    }
  }
}
