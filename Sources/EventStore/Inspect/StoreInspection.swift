package import FoundationEssentials
package import PostgreSQL

/// Looks at a store as an operator does: what is in it, and what stands in the way of its promises. Reads no payload.
package struct StoreInspection: Sendable {
  private let pool: ConnectionPool
  private let schema: SchemaName

  package init(_ pool: ConnectionPool, schema: SchemaName) {
    self.pool = pool
    self.schema = schema
  }

  package init(_ log: PostgreSQLEventLog) {
    self.init(log.pool, schema: log.configuration.schema)
  }

  private func rows(_ text: String, _ parameters: Parameters = Parameters()) async throws(PostgreSQLError) -> Rows {
    try await pool.execute(schema.statement(text), parameters)
  }

  package struct StreamEntry: Sendable {
    package let name: String
    package let version: Int
    package let firstRecordedAt: Date
    package let lastRecordedAt: Date
    package let lastPosition: Position
  }

  /// Streams with events, by name.
  package func streams(
    category: String?, after name: String, limit: Int
  ) async throws(PostgreSQLError) -> [StreamEntry] {
    let rows = try await rows(SQL.`queries/list_streams`, Parameters(category, name, limit))
    return rows.indices.map {
      StreamEntry(
        name: rows.text($0, 0), version: Int(rows.int64($0, 1)), firstRecordedAt: rows.date($0, 2),
        lastRecordedAt: rows.date($0, 3), lastPosition: Position(rows.int64($0, 4)))
    }
  }

  package struct TypeEntry: Sendable {
    package let type: String
    package let events: Int
    package let storedBytes: Int
    package let firstVersion: Int
    package let lastVersion: Int
  }

  /// What a stream is made of.
  package func types(in stream: String) async throws(PostgreSQLError) -> [TypeEntry] {
    let rows = try await rows(SQL.`queries/stream_types`, Parameters(stream))
    return rows.indices.map {
      TypeEntry(
        type: rows.text($0, 0), events: Int(rows.int64($0, 1)), storedBytes: Int(rows.int64($0, 2)),
        firstVersion: Int(rows.int64($0, 3)), lastVersion: Int(rows.int64($0, 4)))
    }
  }

  /// The names of all categories.
  package func categories() async throws(PostgreSQLError) -> Set<String> {
    let rows = try await rows("SELECT name FROM :\"schema\".categories")
    return Set(rows.indices.map { rows.text($0, 0) })
  }

  package struct SnapshotEntry: Sendable {
    package let stream: String
    package let shape: SnapshotShape
    package let version: Int
    package let latestTime: Date
    package let createdAt: Date
    package let storedBytes: Int
    /// The stream's last version.
    package let streamVersion: Int
  }

  /// Snapshots by stream, the newest first.
  package func snapshots(
    stream: String?, category: String?, after name: String, limit: Int
  ) async throws(PostgreSQLError) -> [SnapshotEntry] {
    let rows = try await rows(SQL.`queries/list_snapshots`, Parameters(stream, category, name, limit))
    return rows.indices.map {
      SnapshotEntry(
        stream: rows.text($0, 0),
        shape: SnapshotShape(
          stateType: rows.text($0, 1), schemaVersion: Int(rows.int32($0, 2)), fingerprint: rows.byteArray($0, 3)),
        version: Int(rows.int64($0, 4)), latestTime: rows.date($0, 5), createdAt: rows.date($0, 6),
        storedBytes: Int(rows.int64($0, 7)), streamVersion: rows.isNull($0, 8) ? 0 : Int(rows.int64($0, 8)))
    }
  }

  /// Removes snapshots, which costs the next load a full replay.
  ///
  /// - Returns: How many there were.
  package func deleteSnapshots(
    stream: String?, category: String?, stateType: String?
  ) async throws(PostgreSQLError) -> Int {
    Int(try await rows(SQL.`queries/delete_snapshots`, Parameters(stream, category, stateType)).int64(0, 0))
  }

  package struct MasterKeyEntry: Sendable {
    package let id: String
    package let createdAt: Date
    package let dataKeys: Int
    package let shredded: Int
  }

  package func masterKeys() async throws(PostgreSQLError) -> [MasterKeyEntry] {
    let rows = try await rows(SQL.`queries/list_keys`)
    return rows.indices.map {
      MasterKeyEntry(
        id: rows.text($0, 0), createdAt: rows.date($0, 1), dataKeys: Int(rows.int64($0, 2)),
        shredded: Int(rows.int64($0, 3)))
    }
  }

  package func masterKeyIDs() async throws(PostgreSQLError) -> [String] {
    let rows = try await rows(SQL.`queries/store`)
    return rows.indices.filter { !rows.isNull($0, 1) }.map { rows.text($0, 1) }
  }

  /// The names of migrations that were applied with another text than this binary has.
  package func changedMigrations() async throws(PostgreSQLError) -> [String] {
    let rows = try await rows("SELECT name, digest FROM :\"schema\".migrations ORDER BY number")
    return rows.indices.map { (rows.text($0, 0), rows.text($0, 1)) }.filter { name, digest in
      SQL.migrations.contains { $0.name == name && StateShape.hexSHA256(Array($0.text.utf8)) != digest }
    }.map(\.0)
  }

  package struct Size: Sendable {
    package let estimatedEvents: Int
    package let estimatedStreams: Int
    package let bytes: Int
    package let lastPosition: Position
  }

  package func size() async throws(PostgreSQLError) -> Size {
    let rows = try await rows(SQL.`queries/store_size`)
    return Size(
      estimatedEvents: Int(rows.int64(0, 0)), estimatedStreams: Int(rows.int64(0, 1)), bytes: Int(rows.int64(0, 2)),
      lastPosition: Position(rows.int64(0, 3)))
  }

  package func horizon() async throws(PostgreSQLError) -> Position {
    Position(try await rows(SQL.`queries/horizon`).int64(0, 0))
  }

  package func settings() async throws(PostgreSQLError) -> [String: String] {
    let rows = try await rows(SQL.`queries/doctor_settings`)
    return Dictionary(rows.indices.map { (rows.text($0, 0), rows.text($0, 1)) }, uniquingKeysWith: { $1 })
  }

  package struct OpenAppend: Sendable {
    /// `nil` for a prepared transaction.
    package let pid: Int?
    package let position: Position
    package let user: String?
    package let application: String?
    package let state: String?
    package let seconds: Double?
  }

  package func openAppends() async throws(PostgreSQLError) -> [OpenAppend] {
    let rows = try await rows(SQL.`queries/doctor_horizon`)
    return rows.indices.map {
      OpenAppend(
        pid: rows.isNull($0, 0) ? nil : Int(rows.int32($0, 0)), position: Position(rows.int64($0, 1)),
        user: rows.isNull($0, 2) ? nil : rows.text($0, 2), application: rows.isNull($0, 3) ? nil : rows.text($0, 3),
        state: rows.isNull($0, 4) ? nil : rows.text($0, 4), seconds: rows.isNull($0, 5) ? nil : rows.double($0, 5))
    }
  }

  package struct Privileges: Sendable {
    package let role: String
    package let canAppend: Bool
    package let canRead: Bool
    package let canChange: Bool
    package let isSuperuser: Bool
    package let isProtected: Bool
    package let positionsAreSound: Bool
  }

  package func privileges() async throws(PostgreSQLError) -> Privileges {
    let rows = try await rows(SQL.`queries/doctor_privileges`, Parameters(schema.name))
    return Privileges(
      role: rows.text(0, 0), canAppend: rows.bool(0, 1), canRead: rows.bool(0, 2), canChange: rows.bool(0, 3),
      isSuperuser: rows.bool(0, 4), isProtected: rows.bool(0, 5), positionsAreSound: rows.bool(0, 6))
  }

  /// How many stored payloads hold these bytes as they are. Reads the whole log.
  package func events(containing bytes: [UInt8]) async throws(PostgreSQLError) -> Int {
    Int(try await rows(SQL.`queries/events_containing`, Parameters(Bytea(bytes))).int64(0, 0))
  }

  package func migrationStatus() async throws(PostgreSQLError) -> Migrator.Status {
    try await Migrator.status(pool, schema: schema)
  }
}
