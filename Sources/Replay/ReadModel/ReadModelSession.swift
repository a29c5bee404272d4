internal import EventStore
internal import PostgreSQL

/// A read model in temporary tables of one connection, inside a transaction that is never committed: whatever happens,
/// the database is as it was.
///
/// The tables are made first; from then on the transaction is read-only, which lets it write to temporary tables alone.
/// What a statement reads is seen by the locks that it took.
final class ReadModelSession: Sendable {
  let model: ReadModel
  let connection: Connection
  private let statements: ModelStatements

  struct Table: Sendable {
    let name: String
    /// Names of columns, quoted, with commas; empty: it has no primary key.
    let key: String
    let declare: Statement
    let fetch = Statement("FETCH 1000 FROM rows")
    let close = Statement("CLOSE rows")

    init(name: String, key: String) {
      self.name = name
      let row = "row_to_json(t.*)::text"
      declare = Statement(
        """
        DECLARE rows NO SCROLL CURSOR FOR
         SELECT \(key.isEmpty ? row : "jsonb_build_array(\(key))::text"), \(row)
           FROM pg_temp.\(Statement.quoted(name)) t
          ORDER BY \(key.isEmpty ? "\(row) COLLATE \"C\"" : key)
        """)
      self.key = key
    }

    var quotedName: String { Statement.quoted(name) }
  }
  let tables: [Table]

  private static let temporaryTables = Statement(SQL.`queries/temporary_tables`)

  private init(
    _ model: ReadModel, _ connection: Connection, _ statements: ModelStatements, _ tables: [Table]
  ) {
    self.model = model
    self.connection = connection
    self.statements = statements
    self.tables = tables
  }

  deinit { connection.close() }

  /// Makes the tables, and has PostgreSQL plan every statement.
  ///
  /// - Throws: ``ReadModelError``: the file. `PostgreSQLError`: the server.
  static func open(
    _ model: ReadModel, _ configuration: EventLogConfiguration, _ codec: EventCodec
  ) async throws -> ReadModelSession {
    let connection = try await Connection.connect(configuration.connection)
    do {
      return try await open(model, connection, configuration.schema, codec)
    } catch {
      connection.close()
      throw error
    }
  }

  private static func open(
    _ model: ReadModel, _ connection: Connection, _ schema: SchemaName, _ codec: EventCodec
  ) async throws -> ReadModelSession {
    // A proxy's session is not ours to change.
    if connection.configuration.preparedStatements { try await connection.script("SET temp_buffers = '128MB'") }
    try await connection.script("BEGIN; \(ModelStatements.settings("LOCAL", searchPath: "pg_temp"))")
    try await ModelStatements.create(model.setup, of: model, on: connection)
    let statements = try await ModelStatements(model, tableSchema: nil, on: connection, store: schema, codec)
    try await statements.checkTables(on: connection, line: model.setup.first?.line)
    let tables = try await connection.execute(temporaryTables).map { row in
      let (name, key) = try row.decode((String, String).self)
      return Table(name: name, key: key)
    }
    try await connection.script("SET TRANSACTION READ ONLY")
    try await statements.check(on: connection)
    return ReadModelSession(model, connection, statements, tables)
  }

  /// - Throws: ``ReadModelError`` with `foreignTable`.
  func checkTables() async throws { try await statements.checkTables(on: connection) }

  // MARK: Applying

  /// Applies events, in their order.
  ///
  /// - Throws: ``ReadModelError``, ``AggregateError`` for a payload that cannot be opened, `PostgreSQLError`.
  func apply(_ events: [RecordedEvent]) async throws {
    try await statements.finish(statements.send(try statements.encode(events), on: connection))
  }

  // MARK: Rows

  /// A row as a JSON object, its columns in the table's order.
  struct Row: Sendable, Hashable {
    let table: String
    /// Of the primary key; of the whole row, where there is none.
    let key: String
    let json: String
  }

  /// Calls `body` with the rows of all tables, table by table, ordered by primary key, else by the row's text.
  func rows(_ body: ([Row]) async throws -> Void) async throws {
    for table in tables {
      try await connection.execute(table.declare, timeout: ModelStatements.patience)
      do {
        while true {
          let rows = try await connection.execute(table.fetch, timeout: ModelStatements.patience)
          guard !rows.isEmpty else { break }
          try await body(rows.indices.map { Row(table: table.name, key: rows.text($0, 0), json: rows.text($0, 1)) })
        }
      } catch {
        _ = try? await connection.execute(table.close)
        throw error
      }
      try await connection.execute(table.close)
    }
  }

  func allRows() async throws -> [Row] {
    var all: [Row] = []
    try await rows { all += $0 }
    return all
  }

  // MARK: Joining

  /// Moves the rows of another session's tables here.
  ///
  /// - Throws: ``ReadModelError`` when a row is in both: the streams are not independent.
  func takeRows(of other: ReadModelSession) async throws {
    for table in tables {
      let name = table.quotedName
      let rows = try await other.connection.copyOut("COPY pg_temp.\(name) TO STDOUT (FORMAT binary)")
      do {
        _ = try await connection.copyIn("COPY pg_temp.\(name) FROM STDIN (FORMAT binary)") { copy in
          while let chunk = try await rows.next() { try await copy.write(chunk.bytes) }
        }
      } catch let error as PostgreSQLError where error.sqlState?.hasPrefix("23") == true {
        throw ReadModelError(
          .apply, file: model.file, line: nil,
          "`-- streams: independent` does not hold: several streams have made the same row of \(table.name) (\(error))")
      }
    }
  }
}
