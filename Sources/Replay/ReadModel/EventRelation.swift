internal import EventStore
internal import FoundationEssentials
internal import PostgreSQL

/// `events`: the set of events that a read model's statement applies, in the order of the log. Passed as parameters, so
/// that no payload is ever in a table of PostgreSQL unless the statement puts it there.
enum EventRelation {
  /// On one line, so that the lines of a statement stay those of its file.
  static let commonTableExpression = """
    events AS (SELECT e.position, e.id, e.stream, split_part(e.stream, '-', 1) AS category, \
    substr(e.stream, strpos(e.stream, '-') + 1) AS aggregate_id, e.version, e.type, e.schema_version, e.time, \
    e.recorded_at, e.data, e.bytes, e.metadata, e.redacted \
    FROM unnest($1::bigint[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::integer[], $7::timestamptz[], \
    $8::timestamptz[], $9::jsonb[], $10::bytea[], $11::jsonb[], $12::boolean[]) \
    AS e (position, id, stream, version, type, schema_version, time, recorded_at, data, bytes, metadata, redacted))
    """

  /// - Parameter codec: Its upcasters raise older payloads.
  /// - Throws: ``CodecError`` for a payload that cannot be opened, unless its key was shredded: then `redacted` is true.
  static func parameters(_ events: [RecordedEvent], _ codec: EventCodec) throws(CodecError) -> Parameters {
    var positions = BinaryArray(of: TypeOID.int8)
    var ids = BinaryArray(of: TypeOID.uuid)
    var streams = BinaryArray(of: TypeOID.text)
    var versions = BinaryArray(of: TypeOID.int8)
    var types = BinaryArray(of: TypeOID.text)
    var schemaVersions = BinaryArray(of: TypeOID.int4)
    var times = BinaryArray(of: TypeOID.timestamptz)
    var recordingTimes = BinaryArray(of: TypeOID.timestamptz)
    var data = BinaryArray(of: TypeOID.jsonb)
    var bytes = BinaryArray(of: TypeOID.bytea)
    var metadata = BinaryArray(of: TypeOID.jsonb)
    var redacted = BinaryArray(of: TypeOID.bool)
    for event in events {
      positions.append(event.position.rawValue)
      ids.append(event.id)
      streams.append(event.stream.description)
      versions.append(Int64(event.version))
      types.append(event.type)
      times.append(event.time)
      recordingTimes.append(event.recordedAt)
      if event.metadata.isEmpty { metadata.appendNull() } else { append(event.metadata.json, to: &metadata) }
      if case .failure(.shredded) = event.payload {
        schemaVersions.append(Int32(event.schemaVersion))
        data.appendNull()
        bytes.appendNull()
        redacted.append(true)
        continue
      }
      let (payload, schemaVersion) = try codec.upcasted(event)
      schemaVersions.append(Int32(schemaVersion))
      redacted.append(false)
      switch payload.content {
      case .json:
        append(payload.bytes, to: &data)
        bytes.appendNull()
      case .bytes:
        data.appendNull()
        bytes.append(payload.bytes)
      }
    }
    return Parameters(
      positions, ids, streams, versions, types, schemaVersions, times, recordingTimes, data, bytes, metadata, redacted)
  }

  /// jsonb's binary format: a version, 1, and the text.
  private static func append(_ json: [UInt8], to array: inout BinaryArray) { array.append([1] + json) }
}
