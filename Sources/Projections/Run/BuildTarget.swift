internal import EventStore
internal import FoundationEssentials
internal import PostgreSQL
internal import Replay

/// What one build's events are applied to.
struct BuildTarget: Sendable {
  let log: PostgreSQLEventLog
  let build: ProjectionBuild
  let definition: Definition
  let codec: EventCodec
  let queries: ProjectionQueries
  /// Of a read model in SQL.
  let statements: ModelStatements?
  let sideEffects: Bool

  /// Sees to it that the tables are there.
  static func open(
    _ build: ProjectionBuild, _ definition: Definition, _ log: PostgreSQLEventLog, _ codec: EventCodec,
    _ queries: ProjectionQueries
  ) async throws -> BuildTarget {
    var statements: ModelStatements?
    if definition.hasTables {
      let connection = try await connect(to: build, log, statementTimeout: ModelStatements.patience)
      defer { connection.close() }
      if case .sql(let model) = definition {
        statements = try await ModelStatements(
          model, tableSchema: build.tableSchema(of: log.configuration.schema), on: connection,
          store: log.configuration.schema, codec)
      }
      try await makeTables(build, definition, statements, connection, log, queries)
    }
    return BuildTarget(
      log: log, build: build, definition: definition, codec: codec, queries: queries, statements: statements,
      sideEffects: build.hasSideEffects)
  }

  /// One who hangs in a transaction keeps others off its rows.
  static let longestIdle = Duration.seconds(10)

  /// A connection on which the build's tables are found by their names. What is lost of it in a crash is done again: so
  /// its commits need not wait for the disk. How long a statement may take is known here, and not by the role: one that was
  /// cut off would begin again, and be cut off again.
  ///
  /// - Parameter statementTimeout: Default: as the log's connections have it.
  static func connect(
    to build: ProjectionBuild, _ log: PostgreSQLEventLog, statementTimeout: Duration? = nil
  ) async throws -> Connection {
    var configuration = log.configuration.connection
    if let statementTimeout { configuration.statementTimeout = statementTimeout }
    let connection = try await Connection.connect(configuration)
    do {
      let schema = build.tableSchema(of: log.configuration.schema)
      try await connection.script(
        """
        \(ModelStatements.settings("SESSION", searchPath: "\"\(schema)\", pg_temp"));
        SET SESSION synchronous_commit TO off;
        SET SESSION statement_timeout TO 0;
        SET SESSION idle_in_transaction_session_timeout TO '\(longestIdle.components.seconds)s'
        """)
      return connection
    } catch {
      connection.close()
      throw error
    }
  }

  func connect() async throws -> Connection { try await Self.connect(to: build, log) }

  private static let comment = Statement(
    "SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = $1")

  private static func makeTables(
    _ build: ProjectionBuild, _ definition: Definition, _ statements: ModelStatements?, _ connection: Connection,
    _ log: PostgreSQLEventLog, _ queries: ProjectionQueries
  ) async throws {
    let schema = build.tableSchema(of: log.configuration.schema)
    // Of another store that had this one's name, it would be full of other events.
    let ours = "projection \(build.name), build \(build.number) of store \(log.storeID.uuidString.lowercased())"
    let found = try await connection.execute(comment, Parameters(schema))
    if !found.isEmpty {
      guard found.text(0, 0) == ours else {
        throw ProjectionFailure(
          position: nil, stream: nil, version: nil, type: nil,
          problem: "schema \(schema) is there already, and is not this build's: drop it or rename it", at: .now)
      }
      return
    }
    try await connection.inTransaction { transaction in
      // Another who runs it may be about to, and not have committed.
      try await connection.createSchema(schema)
      try await connection.script("COMMENT ON SCHEMA \"\(schema)\" IS '\(ours)'")
      switch definition {
      case .sql(let model):
        let late = Set(model.lateIndexes)
        try await ModelStatements.create(model.setup.filter { !late.contains($0) }, of: model, on: connection)
        try await statements?.check(on: connection)
      case .swift(let projection): try await projection.createTables(in: transaction)
      case .external, .elsewhere: break
      }
      // Removed at the same moment: then nothing of it may be made. Last: what the statements touch has been looked at.
      guard try await !connection.execute(queries.lockCheckpoint, Parameters(Int32(build.number))).isEmpty else {
        throw PostgreSQLError(.server, "build \(build.number) is gone", sqlState: "ESP01")
      }
    }
  }

  /// Makes what was left until the tables are full, and writes down that it is there.
  func makeIndexes() async throws {
    guard definition.hasTables else {
      try await log.pool.execute(queries.setIndexed, Parameters(Int32(build.number)))
      return
    }
    // An index over all that was loaded takes its time, also where code makes it.
    let connection = try await Self.connect(to: build, log, statementTimeout: ModelStatements.patience)
    defer { connection.close() }
    try await connection.inTransaction { transaction in
      switch definition {
      case .sql(let model): try await ModelStatements.create(model.lateIndexes, of: model, on: connection)
      case .swift(let projection): try await projection.createIndexes(in: transaction)
      case .external, .elsewhere: break
      }
      try await connection.execute(queries.setIndexed, Parameters(Int32(build.number)))
    }
    // What was loaded in one go is not known to the planner yet. Outside of the transaction: nothing depends on it.
    let tables = try await connection.execute(Self.tables, Parameters(build.tableSchema(of: log.configuration.schema)))
    for row in tables.indices { try await connection.script("ANALYZE \(tables.text(row, 0))") }
  }

  private static let tables = Statement(
    "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname = $1")

  func batch(_ events: [RecordedEvent]) -> ProjectionBatch {
    ProjectionBatch(
      events: events, build: build.number, codec: codec, isLive: build.role == .live, sideEffects: sideEffects)
  }
}
