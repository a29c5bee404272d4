/// The statements of the yardsticks that append and read.
extension PreparedClients.Call {
  /// One event: a transaction of its own, each client on its own stream.
  static let oneRowInsert = Self(
    sql: """
      INSERT INTO \(YardstickTable.schema).events
             (stream_id, version, event_id, schema_version, shard, unplaced, type, data)
      VALUES ($1, $2, $3, 1, ($1::bigint & 255)::smallint, false, $4, $5)
      """,
    parameters: 5, events: 1
  ) { parameters, client, call in
    parameters.set(0, Int64(client + 1))
    parameters.set(1, Int64(call + 1))
    parameters.set(2, BinaryWriter.eventID(client, call))
    parameters.set(3, type)
    parameters.set(4, SamplePayloads.payload(call))
  }

  /// One event by ``YardstickTable/appendFunction``.
  static let appendFunction = Self(
    sql: "SELECT \(YardstickTable.schema).append($1, $2, $3, $4, $5)", parameters: 5, events: 1
  ) { parameters, client, call in
    parameters.set(0, Int64(client + 1))
    parameters.set(1, Int64(call))
    parameters.set(2, BinaryWriter.eventID(client, call))
    parameters.set(3, type)
    parameters.set(4, SamplePayloads.payload(call))
  }

  /// `count` events of one stream by one INSERT of arrays.
  static func unnestInsert(_ count: Int) -> Self {
    Self(
      sql: """
        INSERT INTO \(YardstickTable.schema).events
               (stream_id, version, event_id, schema_version, shard, unplaced, type, data)
        SELECT e.stream_id, e.version, e.event_id, 1, (e.stream_id & 255)::smallint, false, e.type, e.data
          FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::text[], $5::bytea[])
               AS e (stream_id, version, event_id, type, data)
        """,
      parameters: 5, events: count
    ) { parameters, client, call in
      func array(_ elementType: Int32, _ element: (inout BinaryWriter, Int) -> Void) -> [UInt8] {
        var writer = BinaryWriter(capacity: 20 + count * (elementType == bytea ? 260 : 24))
        writer.beginArray(of: elementType, count: count)
        for number in 0..<count { element(&writer, number) }
        return writer.bytes
      }
      parameters.set(0, array(int8) { writer, _ in writer.appendField(Int64(client + 1)) })
      parameters.set(1, array(int8) { writer, number in writer.appendField(Int64(call * count + number + 1)) })
      parameters.set(2, array(uuid) { $0.appendField(BinaryWriter.eventID(client, call * count + $1)) })
      parameters.set(3, array(text) { writer, _ in writer.appendField(type) })
      parameters.set(4, array(bytea) { $0.appendField(SamplePayloads.payload($1)) })
    }
  }

  /// A whole stream, by the columns that the store reads, from the store's own table.
  ///
  /// - Parameter streams: Ids of streams of `length` events each.
  static func streamSelect(_ schema: String, _ streams: [Int64], length: Int) -> Self {
    Self(
      sql: """
        SELECT position, stream_id, version, recorded_at, occurred_at, event_id, schema_version, type, metadata, data
          FROM \(schema).events
         WHERE stream_id = $1
         ORDER BY version
        """,
      parameters: 1, events: length
    ) { parameters, _, _ in parameters.set(0, streams.randomElement() ?? 0) }
  }

  private static let type = Array(Deposited.eventType.utf8)

  // Types of array elements, as the server numbers them.
  private static let int8: Int32 = 20
  private static let text: Int32 = 25
  private static let bytea: Int32 = 17
  private static let uuid: Int32 = 2950
}
