internal import EventStore
internal import FoundationEssentials
internal import PostgreSQL

/// `events`: the set of events that a read model's statement applies, in the order of the log. Passed as a parameter, so
/// that no payload is ever in a table of PostgreSQL unless the statement puts it there.
///
/// One array of rows, not an array a column: `unnest` keeps what it makes, and would do so for each column apart, which was
/// measured to take 2.5 µs an event instead of 0.4.
struct EventRelation: Sendable {
  /// On one line, so that the lines of a statement stay those of its file.
  static let commonTableExpression = """
    events AS (SELECT e.position, e.id, e.stream, split_part(e.stream, '-', 1) AS category, \
    substr(e.stream, strpos(e.stream, '-') + 1) AS aggregate_id, e.version, e.type, e.schema_version, e.time, \
    e.recorded_at, e.data, e.bytes, e.metadata, e.redacted FROM unnest($1::\(schema).recorded_event[]) AS e)
    """
  /// Where the store's schema comes to stand.
  static let schema = ":\"schema\""

  /// The number of the type `recorded_event` in this database.
  let elementType: UInt32
  /// Its upcasters raise older payloads.
  let codec: EventCodec

  /// - Throws: `AggregateError.event` for a payload that cannot be opened, unless its key was shredded: then `redacted` is
  ///   true.
  func parameters(_ events: [RecordedEvent]) throws(AggregateError) -> Parameters {
    var rows = RowArray(of: elementType, columns: 12)
    for event in events {
      var payload: Payload?
      var schemaVersion = event.schemaVersion
      do throws(CodecError) {
        (payload, schemaVersion) = try codec.upcasted(event)
      } catch {
        guard case .payload(.shredded) = error else {
          throw AggregateError.event(event.stream, version: event.version, error)
        }
      }
      rows.beginRow()
      rows.append(event.position.rawValue)
      rows.append(event.id)
      rows.append(event.stream.description)
      rows.append(Int64(event.version))
      rows.append(event.type)
      rows.append(Int32(schemaVersion))
      rows.append(event.time)
      rows.append(event.recordedAt)
      rows.append(json: payload?.content == .json ? payload?.bytes : nil)
      rows.append(bytes: payload?.content == .bytes ? payload?.bytes : nil)
      rows.append(json: event.metadata.isEmpty ? nil : event.metadata.json)
      rows.append(payload == nil)
      rows.endRow()
    }
    var parameters = Parameters()
    parameters.append(rows)
    return parameters
  }
}

/// An array of rows in PostgreSQL's binary format (array_recv, record_recv).
private struct RowArray: PostgreSQLEncodable {
  private let element: UInt32
  private let columns: Int32
  private var count: Int32 = 0
  private var body: [UInt8] = []
  private var start = 0

  init(of element: UInt32, columns: Int32) {
    self.element = element
    self.columns = columns
  }

  mutating func beginRow() {
    body.appendBigEndian(Int32(0))
    start = body.count
    body.appendBigEndian(columns)
    count += 1
  }

  /// Writes the row's length before it.
  mutating func endRow() {
    withUnsafeBytes(of: Int32(body.count - start).bigEndian) { length in
      body.replaceSubrange(start - 4..<start, with: length)
    }
  }

  mutating func append<V: PostgreSQLEncodable>(_ value: V) {
    body.appendBigEndian(value.typeOID)
    let place = body.count
    body.appendBigEndian(Int32(0))
    value.encode(into: &body)
    let length = Int32(body.count - place - 4)
    withUnsafeBytes(of: length.bigEndian) { body.replaceSubrange(place..<place + 4, with: $0) }
  }

  mutating func append(bytes: [UInt8]?) { append(TypeOID.bytea, bytes, prefix: []) }

  /// jsonb's format: a version, 1, and the text.
  mutating func append(json: [UInt8]?) { append(TypeOID.jsonb, json, prefix: [1]) }

  private mutating func append(_ type: UInt32, _ bytes: [UInt8]?, prefix: [UInt8]) {
    body.appendBigEndian(type)
    guard let bytes else { return body.appendBigEndian(Int32(-1)) }
    body.appendBigEndian(Int32(prefix.count + bytes.count))
    body += prefix
    body += bytes
  }

  /// The statement says which: it is another number in each database.
  var typeOID: UInt32 { 0 }

  func encode(into bytes: inout [UInt8]) {
    bytes.reserveCapacity(bytes.count + body.count + 20)
    bytes.appendBigEndian(Int32(count == 0 ? 0 : 1))
    bytes.appendBigEndian(Int32(0))
    bytes.appendBigEndian(element)
    guard count > 0 else { return }
    bytes.appendBigEndian(count)
    bytes.appendBigEndian(Int32(1))
    bytes += body
  }
}
