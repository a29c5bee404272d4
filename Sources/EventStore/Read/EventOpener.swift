internal import FoundationEssentials
internal import PostgreSQL
internal import Synchronization

/// Some consecutive rows of a page, on their way to events.
struct OpenedRows: Sendable {
  let range: Range<Int>
  /// Those of the first rows.
  var events: [RecordedEvent] = []
  /// What the others cannot be opened without.
  var unknownStreams: Set<Int64> = []
  var unknownKeys: Set<UUID> = []
}

/// Opens events whose streams' names and keys are at hand. A copy on another thread does as well.
struct EventOpener: Sendable {
  private final class KnownStream: Sendable {
    let name: StreamName
    /// Its latest event's: most often the next one's too.
    let key = Mutex<DataKey?>(nil)

    init(name: StreamName) { self.name = name }
  }

  let plaintextCategories: PlaintextCategories
  private var streams: [Int64: KnownStream] = [:]
  private var keys: [UUID: Result<DataKey, PayloadError>] = [:]
  private var mendable: [UUID] = []
  private var types: [String] = []

  private typealias Column = EventDecoder.Column

  init(plaintextCategories: PlaintextCategories) { self.plaintextCategories = plaintextCategories }

  func knows(stream id: Int64) -> Bool { streams[id] != nil }

  mutating func learn(_ name: StreamName, of id: Int64) { streams[id] = KnownStream(name: name) }

  mutating func learn(_ key: Result<DataKey, PayloadError>, of id: UUID) {
    keys[id] = key
    if key.mayBeMended { mendable.append(id) }
  }

  /// To be called after each page: what a scan over many streams met is not kept for ever, nor are keys that may be there
  /// the next time.
  mutating func forget() {
    if streams.count > 50_000 { streams = [:] }
    if keys.count > 50_000 { keys = [:] }
    for id in mendable { keys[id] = nil }
    mendable = []
  }

  mutating func forgetAll() { (streams, keys, mendable) = ([:], [:], []) }

  /// Goes on with some rows; stops at one whose name or key is not at hand, and notes all that the rest lacks.
  mutating func open(_ rows: Rows, _ part: inout OpenedRows) {
    part.events.reserveCapacity(part.range.count)
    for row in part.range.dropFirst(part.events.count) {
      guard let event = event(rows, row) else {
        noteUnknown(rows, row..<part.range.upperBound, &part)
        return
      }
      part.events.append(event)
    }
  }

  /// Notes what the opener lacks for some of the rows.
  func noteUnknown(_ rows: Rows, _ range: Range<Int>, _ part: inout OpenedRows) {
    // Often many rows in a row are of one stream and one key.
    var lastStream: Int64?
    var lastKey: UUID?
    for row in range {
      let stream = rows.int64(row, Column.streamID)
      if stream != lastStream, streams[stream] == nil { part.unknownStreams.insert(stream) }
      lastStream = stream
      guard case .sealed(let id)? = try? Envelope.header(of: rows.bytes(row, Column.data)), id != lastKey else {
        continue
      }
      lastKey = id
      if keys[id] == nil { part.unknownKeys.insert(id) }
    }
  }

  /// - Returns: `nil` where the stream's name or the data key is not at hand.
  private mutating func event(_ rows: Rows, _ row: Int) -> RecordedEvent? {
    let streamID = rows.int64(row, Column.streamID)
    let data = rows.bytes(row, Column.data)
    guard let stream = streams[streamID] else { return nil }
    var keyID: UUID?
    var key: Result<DataKey, PayloadError>?
    if let usual = stream.key.withLock({ $0 }), Envelope.isSealed(data, with: usual) {
      (keyID, key) = (usual.id, .success(usual))
    } else if case .sealed(let id)? = try? Envelope.header(of: data) {
      guard let known = keys[id] else { return nil }
      (keyID, key) = (id, known)
      if case .success(let key) = known { stream.key.withLock { $0 = key } }
    }
    let id = rows.uuid(row, Column.eventID)
    let type = rows.bytes(row, Column.type)
    let schemaVersion = Int(rows.int32(row, Column.schemaVersion))
    let occurredAt = rows.isNull(row, Column.occurredAt) ? nil : rows.int64(row, Column.occurredAt)
    let hasMetadata = !rows.isNull(row, Column.metadata)
    let metadata = rows.bytes(row, Column.metadata)
    var name = stream.name.description
    let payload = name.withUTF8 { stream in
      self.payload(
        data, key,
        EnvelopeContextView(
          eventID: id, stream: UnsafeRawBufferPointer(stream), type: type, schemaVersion: schemaVersion,
          metadata: hasMetadata ? metadata : nil, occurredAt: occurredAt.map { $0 &+ microsecondsFrom1970To2000 }))
    }
    return RecordedEvent(
      id: id, stream: stream.name, version: Int(rows.int64(row, Column.version)),
      position: Position(rows.int64(row, Column.position)), type: interned(type), schemaVersion: schemaVersion,
      recordedAt: Date(microsecondsSince2000: rows.int64(row, Column.recordedAt)),
      occurredAt: occurredAt.map { Date(microsecondsSince2000: $0) },
      metadata: hasMetadata ? Metadata(trusted: Array(metadata)) : Metadata(), payload: payload, keyID: keyID,
      shard: UInt8(truncatingIfNeeded: streamID))
  }

  private func payload(
    _ data: UnsafeRawBufferPointer, _ key: Result<DataKey, PayloadError>?, _ context: EnvelopeContextView
  ) -> Result<Payload, PayloadError> {
    do throws(PayloadError) {
      if key == nil, case .plaintext = try Envelope.header(of: data) {
        try plaintextCategories.check(stream: context.stream)
      }
      return .success(try Envelope.open(data, key: try key?.get(), context: context))
    } catch {
      return .failure(error)
    }
  }

  /// The type as a string, without making one for every event.
  private mutating func interned(_ bytes: UnsafeRawBufferPointer) -> String {
    for index in types.indices {
      if types[index].isBytes(bytes) { return types[index] }
    }
    let type = String(decoding: bytes, as: UTF8.self)
    if types.count >= 16 { types.removeFirst() }
    types.append(type)
    return type
  }
}
