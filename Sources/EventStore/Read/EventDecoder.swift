internal import FoundationEssentials
internal import Glibc
internal import PostgreSQL

/// Turns rows of the events table into recorded events: finds names and keys, opens payloads.
///
/// Belongs to one reader: what it met lately it keeps without a lock.
final class EventDecoder {
  private let directory: StreamDirectory
  private let keys: DataKeys
  private var opener: EventOpener

  private static let cores = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  /// Fewer are opened faster than another thread is woken.
  private static let rowsWorthATask = 256

  init(_ directory: StreamDirectory, _ keys: DataKeys, _ plaintextCategories: PlaintextCategories) {
    self.directory = directory
    self.keys = keys
    opener = EventOpener(plaintextCategories: plaintextCategories)
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
        if opener.names[stream] == nil {
          if let name = directory.name(of: stream) {
            opener.names[stream] = name
          } else {
            unknownStreams.insert(stream)
          }
        }
      }
      if case .sealed(let id)? = try? Envelope.header(of: rows.bytes(row, Column.data)), id != lastKey {
        lastKey = id
        if opener.keys[id] == nil {
          if let key = keys.key(id) { opener.keys[id] = key } else { unknownKeys.insert(id) }
        }
      }
    }
    if !unknownStreams.isEmpty || !unknownKeys.isEmpty {
      let lease = try await lookUp()
      // Both at once.
      let names =
        unknownStreams.isEmpty ? nil : directory.askForNames(of: Array(unknownStreams), lease.connection)
      let wanted = Array(unknownKeys)
      let found = wanted.isEmpty ? nil : keys.ask(for: wanted, lease.connection)
      if let names {
        opener.names.merge(directory.learnNames(try await names.rows())) { $1 }
      }
      if let found {
        opener.keys.merge(keys.learn(try await found.rows(), wanted)) { $1 }
      }
    }
    let events = await opened(rows)
    // What a scan over many streams met is not kept for ever.
    if opener.names.count > 50_000 { opener.names = [:] }
    if opener.keys.count > 50_000 { opener.keys = [:] }
    return events
  }

  /// All rows' events, in order; many of them on several cores.
  private func opened(_ rows: Rows) async -> [RecordedEvent] {
    let parts = min(Self.cores, rows.count / Self.rowsWorthATask)
    guard parts > 1 else { return opener.events(rows, 0..<rows.count) }
    let bounds = (0...parts).map { $0 * rows.count / parts }
    let (opener, first) = (opener, bounds[0]..<bounds[1])
    return await withTaskGroup(of: (part: Int, events: [RecordedEvent]).self) { group in
      for part in 1..<parts {
        group.addTask {
          var own = opener
          return (part, own.events(rows, bounds[part]..<bounds[part + 1]))
        }
      }
      var events = self.opener.events(rows, first)
      var rest = [[RecordedEvent]](repeating: [], count: parts)
      for await (part, events) in group { rest[part] = events }
      events.reserveCapacity(rows.count)
      for part in rest { events += part }
      return events
    }
  }
}

/// Opens events whose streams' names and keys are at hand. A copy on another thread does as well.
struct EventOpener: Sendable {
  let plaintextCategories: PlaintextCategories
  var names: [Int64: StreamName] = [:]
  var keys: [UUID: Result<DataKey, PayloadError>] = [:]
  private var types: [String] = []

  private typealias Column = EventDecoder.Column

  init(plaintextCategories: PlaintextCategories) { self.plaintextCategories = plaintextCategories }

  mutating func events(_ rows: Rows, _ range: Range<Int>) -> [RecordedEvent] {
    var events: [RecordedEvent] = []
    events.reserveCapacity(range.count)
    for row in range { events.append(event(rows, row)) }
    return events
  }

  private mutating func event(_ rows: Rows, _ row: Int) -> RecordedEvent {
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

    var keyID: UUID?
    if case .sealed(let id)? = try? Envelope.header(of: data) { keyID = id }
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
      metadata: hasMetadata ? Metadata(trusted: Array(metadata)) : Metadata(), payload: payload, keyID: keyID,
      shard: UInt8(truncatingIfNeeded: streamID))
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
        guard let key = try keys[id]?.get() else { throw .dataKeyMissing(key: id.uuidString.lowercased()) }
        return .success(try Envelope.open(data, key: key, context: context))
      }
    } catch {
      return .failure(error)
    }
  }

  /// The type as a string, without making one for every event.
  private mutating func interned(_ bytes: UnsafeRawBufferPointer) -> String {
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
