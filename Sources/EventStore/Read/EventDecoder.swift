internal import FoundationEssentials
internal import PostgreSQL

/// Turns rows of the events table into recorded events: finds names and keys, opens payloads.
///
/// Belongs to one reader: what it met lately it keeps without a lock.
final class EventDecoder {
  private let directory: StreamDirectory
  private let keys: DataKeys
  private let plaintextCategories: PlaintextCategories
  private var names: [Int64: StreamName] = [:]
  private var opened: [UUID: Result<DataKey, PayloadError>] = [:]
  private var types: [String] = []

  init(_ directory: StreamDirectory, _ keys: DataKeys, _ plaintextCategories: PlaintextCategories) {
    self.directory = directory
    self.keys = keys
    self.plaintextCategories = plaintextCategories
  }

  /// The columns of every query that reads events.
  enum Column {
    static let position = 0
    static let streamID = 1
    static let version = 2
    static let recordedAt = 3
    static let occurredAt = 4
    static let eventID = 5
    static let schemaVersion = 6
    static let type = 7
    static let metadata = 8
    static let data = 9
  }

  /// - Parameter lookUp: Gives a connection for names and keys that are not known yet.
  func events(
    _ rows: Rows, lookUp: () async throws(PostgreSQLError) -> ConnectionPool.Lease
  ) async throws(PostgreSQLError) -> [RecordedEvent] {
    var unknownStreams: Set<Int64> = []
    var unknownKeys: Set<UUID> = []
    var lastStream: Int64 = 0
    var lastKey: UUID?
    for row in 0..<rows.count {
      let stream = rows.int64(row, Column.streamID)
      if stream != lastStream {
        lastStream = stream
        if names[stream] == nil {
          if let name = directory.name(of: stream) { names[stream] = name } else { unknownStreams.insert(stream) }
        }
      }
      if case .sealed(let id)? = try? Envelope.header(of: rows.bytes(row, Column.data)), id != lastKey {
        lastKey = id
        if opened[id] == nil {
          if let key = keys.key(id) { opened[id] = key } else { unknownKeys.insert(id) }
        }
      }
    }
    if !unknownStreams.isEmpty || !unknownKeys.isEmpty {
      let lease = try await lookUp()
      if !unknownStreams.isEmpty {
        try await directory.fetchNames(of: Array(unknownStreams), lease.connection)
        for id in unknownStreams { names[id] = directory.name(of: id) }
      }
      if !unknownKeys.isEmpty {
        try await keys.fetch(ids: Array(unknownKeys), lease.connection)
        for id in unknownKeys { opened[id] = keys.key(id) }
      }
    }
    var events: [RecordedEvent] = []
    events.reserveCapacity(rows.count)
    for row in 0..<rows.count { events.append(event(rows, row)) }
    // What a scan over many streams met is not kept for ever.
    if names.count > 50_000 { names = [:] }
    if opened.count > 50_000 { opened = [:] }
    return events
  }

  private func event(_ rows: Rows, _ row: Int) -> RecordedEvent {
    let id = rows.uuid(row, Column.eventID)
    let streamID = rows.int64(row, Column.streamID)
    // A stream row cannot be deleted; if someone did, the event is still shown.
    let stream = names[streamID] ?? StreamName(trusted: "unknown-\(streamID)")
    let type = rows.bytes(row, Column.type)
    let schemaVersion = Int(rows.int32(row, Column.schemaVersion))
    let occurredAt = rows.isNull(row, Column.occurredAt) ? nil : rows.int64(row, Column.occurredAt)
    let hasMetadata = !rows.isNull(row, Column.metadata)
    let metadata = rows.bytes(row, Column.metadata)
    let data = rows.bytes(row, Column.data)

    var name = stream.description
    let payload = name.withUTF8 { stream -> Result<Payload, PayloadError> in
      open(
        data,
        EnvelopeContextView(
          eventID: id, stream: UnsafeRawBufferPointer(stream), type: type, schemaVersion: schemaVersion,
          metadata: hasMetadata ? metadata : nil, occurredAt: occurredAt.map { $0 + microsecondsFrom1970To2000 }))
    }
    return RecordedEvent(
      id: id, stream: stream, version: Int(rows.int64(row, Column.version)),
      position: Position(rows.int64(row, Column.position)), type: interned(type), schemaVersion: schemaVersion,
      recordedAt: Date(microsecondsSince2000: rows.int64(row, Column.recordedAt)),
      occurredAt: occurredAt.map { Date(microsecondsSince2000: $0) },
      metadata: hasMetadata ? Metadata(trusted: Array(metadata)) : Metadata(), payload: payload)
  }

  private func open(
    _ data: UnsafeRawBufferPointer, _ context: EnvelopeContextView
  ) -> Result<Payload, PayloadError> {
    do throws(PayloadError) {
      switch try Envelope.header(of: data) {
      case .plaintext:
        try plaintextCategories.check(stream: context.stream)
        return .success(try Envelope.open(data, key: nil, context: context))
      case .sealed(let id):
        guard let key = try opened[id]?.get() else { throw .dataKeyMissing(key: id.uuidString.lowercased()) }
        return .success(try Envelope.open(data, key: key, context: context))
      }
    } catch {
      return .failure(error)
    }
  }

  /// The type as a string, without making one for every event.
  private func interned(_ bytes: UnsafeRawBufferPointer) -> String {
    for index in types.indices {
      let isSame = types[index].utf8.withContiguousStorageIfAvailable { candidate in
        candidate.count == bytes.count && bytes.elementsEqual(candidate)
      }
      if isSame == true { return types[index] }
    }
    let type = String(decoding: bytes, as: UTF8.self)
    if types.count >= 16 { types.removeFirst() }
    types.append(type)
    return type
  }
}

/// Envelopes bind a time in microseconds since 1970; PostgreSQL counts from 2000.
let microsecondsFrom1970To2000: Int64 = 946_684_800_000_000

/// Which categories may hold plaintext payloads.
enum PlaintextCategories: Sendable {
  case all
  case only(Set<String>)

  func contains(stream: StreamName) -> Bool {
    switch self {
    case .all: true
    case .only(let names): !names.isEmpty && names.contains(stream.category)
    }
  }

  func check(stream: UnsafeRawBufferPointer) throws(PayloadError) {
    guard case .only(let names) = self else { return }
    let category = String(decoding: stream.prefix { $0 != UInt8(ascii: "-") }, as: UTF8.self)
    guard names.contains(category) else { throw .notSealed(category: category) }
  }
}
