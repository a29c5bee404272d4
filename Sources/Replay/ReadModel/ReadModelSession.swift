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
  private let relation: EventRelation
  /// Of each handler.
  private let statements: [[(statement: Statement, sql: ReadModel.SQL)]]

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
           FROM pg_temp.\(Self.quoted(name)) t
          ORDER BY \(key.isEmpty ? "\(row) COLLATE \"C\"" : key)
        """)
      self.key = key
    }

    var quotedName: String { Self.quoted(name) }

    private static func quoted(_ name: String) -> String { "\"\(name.replacing("\"", with: "\"\""))\"" }
  }
  let tables: [Table]

  private static let touchedRelations = Statement(SQL.`queries/touched_relations`)
  private static let temporaryTables = Statement(SQL.`queries/temporary_tables`)
  /// A whole-log fold is one transaction of long statements.
  private static let patience = Duration.seconds(86400)

  private init(
    _ model: ReadModel, _ connection: Connection, _ relation: EventRelation,
    _ statements: [[(statement: Statement, sql: ReadModel.SQL)]], _ tables: [Table]
  ) {
    self.model = model
    self.connection = connection
    self.relation = relation
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
    func text(_ sql: String) -> String { sql.replacing(EventRelation.schema, with: schema.quoted) }
    // A proxy's session is not ours to change.
    if connection.configuration.preparedStatements { try await connection.script("SET temp_buffers = '128MB'") }
    try await connection.script(
      """
      BEGIN;
      SET LOCAL search_path TO pg_temp;
      SET LOCAL TimeZone TO 'UTC';
      SET LOCAL jit TO off;
      SET LOCAL client_min_messages TO error;
      SET LOCAL lock_timeout TO '5s';
      SET LOCAL log_parameter_max_length_on_error TO 0;
      -- Parameters are payloads, and errors may quote them: not for the server's log, where this role may say so.
      DO $$ BEGIN
        SET LOCAL log_parameter_max_length = 0;
        SET LOCAL log_min_messages = panic;
        SET LOCAL log_min_error_statement = panic;
      EXCEPTION WHEN insufficient_privilege THEN NULL; END $$;
      """)
    for sql in model.setup {
      try await translating(model, sql) { () throws(PostgreSQLError) in
        try await connection.execute(Statement(sql.text), timeout: patience)
      }
    }
    try await check(model, connection, line: model.setup.first?.line)
    let tables = try await connection.execute(temporaryTables).map { row in
      let (name, key) = try row.decode((String, String).self)
      return Table(name: name, key: key)
    }
    try await connection.script("SET TRANSACTION READ ONLY")
    let type = try await connection.execute(Statement(text(SQL.`queries/recorded_event_type`))).int64(0, 0)
    let relation = EventRelation(elementType: UInt32(truncatingIfNeeded: type), codec: codec)
    let none = try relation.parameters([])
    let statements = model.handlers.map { handler in
      handler.statements.map { sql in
        let sql = ReadModel.SQL(text: text(sql.text), line: sql.line)
        return (statement: Statement(sql.text), sql: sql)
      }
    }
    for (_, sql) in statements.joined() {
      let plan = ReadModel.SQL(text: "EXPLAIN \(sql.text)", line: sql.line)
      try await translating(model, plan) { () throws(PostgreSQLError) in
        try await connection.execute(Statement(plan.text), none)
      }
      try await check(model, connection, line: sql.line)
    }
    return ReadModelSession(model, connection, relation, statements, tables)
  }

  /// - Throws: ``ReadModelError`` with `foreignTable`.
  func checkTables() async throws { try await Self.check(model, connection, line: nil) }

  private static func check(_ model: ReadModel, _ connection: Connection, line: Int?) async throws {
    let rows = try await connection.execute(touchedRelations)
    guard !rows.isEmpty else { return }
    throw ReadModelError(
      .foreignTable, file: model.file, line: line,
      "it touches \(rows.text(0, 0)): a read model's statements may use its own tables and `events`, nothing else")
  }

  // MARK: Applying

  /// Applies events, in their order.
  ///
  /// - Throws: ``ReadModelError``, ``AggregateError`` for a payload that cannot be opened, `PostgreSQLError`.
  func apply(_ events: [RecordedEvent]) async throws {
    var pending: [(set: EventSet, sql: ReadModel.SQL, result: PendingResult)] = []
    for set in try EventSets.divide(events, for: model) {
      let parameters = try relation.parameters(set.events)
      for (statement, sql) in statements[set.handler] {
        pending.append((set, sql, connection.send(statement, parameters, timeout: Self.patience)))
      }
    }
    // In order: what comes after the first failure has failed because of it.
    for (set, sql, result) in pending {
      do throws(PostgreSQLError) {
        _ = try await result.rows()
      } catch {
        throw Self.failure(error, of: sql, on: set.events, model)
      }
    }
  }

  private static func failure(
    _ error: PostgreSQLError, of sql: ReadModel.SQL, on events: [RecordedEvent], _ model: ReadModel
  ) -> any Error {
    guard error.code == .server, let state = error.sqlState else { return error }
    if state == "25006" { return readOnly(error, model, sql) }
    // Cardinality, data, constraints, names and syntax, raised by a function: the file's and the events'. A full disk is not.
    guard ["21", "22", "23", "42", "P0"].contains(state.prefix(2)) else { return error }
    // Only these messages are sure to quote no value.
    let message = ["21", "23"].contains(state.prefix(2)) ? error.description : "SQLSTATE \(state)"
    var problem = "the statement failed on \(events.count) \(events.count == 1 ? "event" : "events")"
    if let first = events.first, let last = events.last {
      problem += ", from \(first.stream) version \(first.version) to \(last.stream) version \(last.version): \(message)"
    }
    switch state {
    case "21000":
      problem += "; it changes a row twice for one set of events: GROUP BY the row's key, or use `-- on each:`"
    case _ where state.hasPrefix("22"):
      problem += "; a cast or a computation does not fit the data of one of these events"
    default: break
    }
    return ReadModelError(.apply, file: model.file, line: line(of: error, in: sql) ?? sql.line, problem)
  }

  private static func readOnly(_ error: PostgreSQLError, _ model: ReadModel, _ sql: ReadModel.SQL) -> ReadModelError {
    ReadModelError(
      .foreignTable, file: model.file, line: sql.line,
      "it changes something else than the read model's own tables: \(error)")
  }

  private static func line(of error: PostgreSQLError, in sql: ReadModel.SQL) -> Int? {
    error.position.map { position in
      sql.line + sql.text.unicodeScalars.prefix(max(0, position - 1)).count { $0 == "\n" }
    }
  }

  /// What PostgreSQL refuses, as an error of the file.
  private static func translating(
    _ model: ReadModel, _ sql: ReadModel.SQL, _ body: () async throws(PostgreSQLError) -> Rows
  ) async throws {
    do throws(PostgreSQLError) {
      _ = try await body()
    } catch {
      guard error.code == .server, let state = error.sqlState else { throw error }
      if state == "25006" { throw readOnly(error, model, sql) }
      // What the file says; not a full disk, nor a missing privilege.
      guard ["0A", "22", "23", "2B", "42"].contains(state.prefix(2)), state != "42501" else { throw error }
      var problem = "PostgreSQL refuses it: \(error)"
      if error.sqlState == "42P01" { problem += "; a read model sees its own tables and `events`" }
      throw ReadModelError(file: model.file, line: line(of: error, in: sql) ?? sql.line, problem)
    }
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
      try await connection.execute(table.declare, timeout: Self.patience)
      do {
        while true {
          let rows = try await connection.execute(table.fetch, timeout: Self.patience)
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
