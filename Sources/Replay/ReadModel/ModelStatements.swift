package import EventStore
package import PostgreSQL

/// A read model's statements as one database has them: for any connection on which the model's tables are found by their
/// names.
package struct ModelStatements: Sendable {
  package let model: ReadModel
  /// Whose tables are the model's own: a schema; `nil`: temporary ones.
  package let tableSchema: String?
  private let relation: EventRelation
  /// Of each handler.
  private let statements: [[(statement: Statement, sql: ReadModel.SQL)]]

  /// One set of events is one statement, and may be large.
  package static let patience = Duration.seconds(86400)
  private static let touchedRelations = Statement(SQL.`queries/touched_relations`)

  /// - Parameter store: The store's schema.
  package init(
    _ model: ReadModel, tableSchema: String?, on connection: Connection, store: SchemaName, _ codec: EventCodec
  ) async throws {
    func text(_ sql: String) -> String { sql.replacing(EventRelation.schema, with: store.quoted) }
    self.model = model
    self.tableSchema = tableSchema
    let type = try await connection.execute(Statement(text(SQL.`queries/recorded_event_type`))).int64(0, 0)
    relation = EventRelation(elementType: UInt32(truncatingIfNeeded: type), codec: codec)
    statements = model.handlers.map { handler in
      handler.statements.map { sql in
        // Only there: what its author has written may hold the same characters, in a string.
        let sql = ReadModel.SQL(
          text: sql.text.replacing(
            EventRelation.commonTableExpression, with: text(EventRelation.commonTableExpression), maxReplacements: 1),
          line: sql.line)
        return (statement: Statement(sql.text), sql: sql)
      }
    }
  }

  // MARK: The session

  /// Settings that decide what a value looks like as text, and which value a text is: the same events must make the same
  /// rows for every role and in every database.
  package static let deterministic = [
    ("TimeZone", "UTC"), ("DateStyle", "ISO, MDY"), ("IntervalStyle", "postgres"), ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
  ]

  /// What statements run under: rows must follow from events alone, and payloads, which errors and slow statements may
  /// quote, are not for the server's log, where this role may say so.
  ///
  /// - Parameter scope: `SESSION` or `LOCAL`.
  package static func settings(_ scope: String, searchPath: String) -> String {
    """
    SET \(scope) search_path TO \(searchPath);
    \(deterministic.map { "SET \(scope) \($0) TO '\($1)';" }.joined(separator: "\n"))
    SET \(scope) jit TO off;
    SET \(scope) client_min_messages TO warning;
    SET \(scope) lock_timeout TO '5s';
    SET \(scope) log_parameter_max_length_on_error TO 0;
    DO $$ BEGIN
      SET \(scope) log_parameter_max_length = 0;
      SET \(scope) log_min_messages = panic;
      SET \(scope) log_min_error_statement = panic;
    EXCEPTION WHEN insufficient_privilege THEN NULL; END $$
    """
  }

  // MARK: The file's tables and statements, checked

  /// Runs statements that make tables or indexes.
  ///
  /// - Throws: ``ReadModelError``: the file. `PostgreSQLError`: the server.
  package static func create(
    _ setup: [ReadModel.SQL], of model: ReadModel, on connection: Connection
  ) async throws {
    for sql in setup {
      try await translating(model, sql) { () throws(PostgreSQLError) in
        try await connection.execute(Statement(sql.text), timeout: patience)
      }
    }
  }

  /// Has PostgreSQL plan every statement, and looks what they touch. In a transaction.
  package func check(on connection: Connection) async throws {
    let none = try relation.parameters([])
    for (_, sql) in statements.joined() {
      let plan = ReadModel.SQL(text: "EXPLAIN \(sql.text)", line: sql.line)
      try await Self.translating(model, plan) { () throws(PostgreSQLError) in
        try await connection.execute(Statement(plan.text), none)
      }
      try await checkTables(on: connection, line: sql.line)
    }
  }

  /// - Throws: ``ReadModelError`` with `foreignTable`, where the transaction has touched one.
  package func checkTables(on connection: Connection, line: Int? = nil) async throws {
    let rows = try await connection.execute(
      Self.touchedRelations, Parameters(tableSchema, BinaryArray(model.reads)))
    guard !rows.isEmpty else { return }
    let name = rows.text(0, 0)
    throw ReadModelError(
      .foreignTable, file: model.file, line: line,
      model.reads.contains(name)
        ? "it changes \(name), which it declares to read"
        : "it touches \(name): a read model's statements may use its own tables and `events`, and read what it declares "
          + "with `-- reads: \(name)`")
  }

  // MARK: Applying

  /// Sets of events as parameters of their statements, in order.
  package struct Encoded: Sendable {
    fileprivate let sets: [(set: EventSet, parameters: Parameters)]
  }

  /// A statement that is under way.
  package struct Sent: Sendable {
    fileprivate let events: [RecordedEvent]
    fileprivate let sql: ReadModel.SQL
    fileprivate let result: PendingResult
  }

  /// - Throws: ``ReadModelError`` with `unhandledType`; ``AggregateError`` for a payload that cannot be opened.
  package func encode(_ events: [RecordedEvent]) throws -> Encoded {
    Encoded(sets: try EventSets.divide(events, for: model).map { ($0, try relation.parameters($0.events)) })
  }

  /// Sends the statements that apply events, in their order.
  package func send(
    _ encoded: Encoded, on connection: Connection, timeout: Duration = ModelStatements.patience
  ) -> [Sent] {
    encoded.sets.flatMap { set, parameters in
      statements[set.handler].map { statement, sql in
        Sent(
          events: set.events, sql: sql, result: connection.send(statement, parameters, timeout: timeout))
      }
    }
  }

  /// Waits for what was sent, in order: what comes after the first failure has failed because of it.
  ///
  /// - Parameter isCancellable: Whether a statement is taken back when the task is cancelled. Not where others that were
  ///   sent behind it, and that commit, would then run without it.
  /// - Throws: ``ReadModelError``, `PostgreSQLError`.
  package func finish(_ sent: [Sent], isCancellable: Bool = true) async throws {
    for sent in sent {
      do throws(PostgreSQLError) {
        if isCancellable { try await sent.result.rows() } else { _ = try await sent.result.outcome().get() }
      } catch {
        throw Self.failure(error, of: sent.sql, on: sent.events, model)
      }
    }
  }

  private static func failure(
    _ error: PostgreSQLError, of sql: ReadModel.SQL, on events: [RecordedEvent], _ model: ReadModel
  ) -> any Error {
    guard error.code == .server, let state = error.sqlState else { return error }
    if state == "25006" { return readOnly(error, model, sql) }
    // Cardinality, data, constraints, names and syntax, raised by a function: the file's and the events'. A full disk is not.
    guard ["21", "22", "23", "42", "54", "P0"].contains(state.prefix(2)) else { return error }
    // Only these messages are sure to quote no value.
    let message = error.quotesNoValue ? error.description : "SQLSTATE \(state)"
    var problem = "the statement failed on \(events.count) \(events.count == 1 ? "event" : "events")"
    if let first = events.first, let last = events.last {
      problem +=
        events.count == 1
        ? ", \(first.stream) version \(first.version): \(message)"
        : ", from \(first.stream) version \(first.version) to \(last.stream) version \(last.version): \(message)"
    }
    switch state {
    case "21000":
      problem += "; it changes a row twice for one set of events: GROUP BY the row's key, or use `-- on each:`"
    case _ where state.hasPrefix("22"):
      problem +=
        "; a cast or a computation does not fit the data of \(events.count == 1 ? "it" : "one of these events")"
    default: break
    }
    return ReadModelError(
      .apply, file: model.file, line: line(of: error, in: sql) ?? sql.line, problem, sqlState: state)
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
}
