/// The rows of an import as events, by binary COPY on two connections, each with half of the rows, made beforehand.
struct CopyImport: Contestant {
  private let connections: [LibpqConnection]
  private let halves: [[UInt8]]
  private let rows: Int

  init(_ url: String, rows: Int) throws {
    connections = [try LibpqConnection(url), try LibpqConnection(url)]
    self.rows = rows
    halves = [0..<(rows / 2), (rows / 2)..<rows].map(Self.encode)
  }

  func prepareRound() async throws {
    try await Thread.run { [connections] in
      try connections[0].script("TRUNCATE \(YardstickTable.schema).events; CHECKPOINT")
    }
  }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(2, for: duration) { [self] number, _ in
      try await Thread.run {
        try connections[number].copyIn(
          """
          COPY \(YardstickTable.schema).events
               (stream_id, version, occurred_at, event_id, schema_version, shard, unplaced, type, data)
          FROM STDIN (FORMAT BINARY)
          """, halves[number])
      }
      return Tally(events: number == 0 ? rows / 2 : rows - rows / 2)
    }
  }

  private static func encode(_ rows: Range<Int>) -> [UInt8] {
    var writer = BinaryWriter(capacity: rows.count * 400)
    writer.beginCopy()
    for number in rows {
      let row = BankRow(number)
      writer.append(Int16(9))
      writer.appendField(Int64(row.account))
      writer.appendField(Int64(row.version))
      writer.appendField(Int64(row.day) * 86_400_000_000)
      writer.appendField(BinaryWriter.eventID(0, number))
      writer.appendField(Int32(1))
      writer.appendField(Int16(row.account & 255))
      writer.appendField([0])
      writer.appendField(row.type)
      writer.appendField(row.json)
    }
    writer.endCopy()
    return writer.bytes
  }
}
