internal import PostgreSQL

/// The columns that every call gives its events, as arrays.
struct EventColumns {
  let capacity: Int
  private var ids: BinaryArray
  private var types: BinaryArray
  private var schemaVersions: BinaryArray
  private var occurredAt: BinaryArray
  private var metadata: BinaryArray
  private var data: BinaryArray
  private var hasTime = false
  private var hasMetadata = false

  init(events: Int, bytes: Int) {
    capacity = events
    ids = BinaryArray(of: TypeOID.uuid, reservingBytes: 20 * events)
    types = BinaryArray(of: TypeOID.text, reservingBytes: 24 * events)
    schemaVersions = BinaryArray(of: TypeOID.int4, reservingBytes: 8 * events)
    occurredAt = BinaryArray(of: TypeOID.timestamptz, reservingBytes: 12 * events)
    metadata = BinaryArray(of: TypeOID.bytea, reservingBytes: 4 * events)
    data = BinaryArray(of: TypeOID.bytea, reservingBytes: bytes)
  }

  var byteCount: Int { [ids, types, schemaVersions, occurredAt, metadata, data].reduce(0) { $0 + $1.byteCount } }

  mutating func add(_ event: SealedEvent) {
    ids.append(event.id)
    types.append(event.type)
    schemaVersions.append(event.schemaVersion)
    if let time = event.occurredAt {
      occurredAt.append(time)
      hasTime = true
    } else {
      occurredAt.appendNull()
    }
    if event.metadata.isEmpty {
      metadata.appendNull()
    } else {
      metadata.append(event.metadata)
      hasMetadata = true
    }
    data.append(event.envelope)
  }

  /// In the order in which the functions want them. A column without a value is null as a whole.
  func add(to parameters: inout Parameters) {
    parameters.append(ids)
    parameters.append(types)
    parameters.append(schemaVersions)
    parameters.append(occurredAt, unless: !hasTime)
    parameters.append(metadata, unless: !hasMetadata)
    parameters.append(data)
  }
}
