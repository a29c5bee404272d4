internal import EventStore
internal import PostgreSQL

/// A store in a schema of its own that may be thrown away: for `demo` and `bench`.
struct ScratchStore {
  let configuration: EventLogConfiguration
  private let connection: ConnectionConfiguration
  private let schema: SchemaName
  /// Has the schema's lock.
  private let holder: Connection

  /// Makes it anew: one of the same name, left by an earlier run, is dropped; one that is in use by another run is not.
  static func make(
    named schema: SchemaName, _ connection: ConnectionConfiguration, keyring: Keyring? = nil
  ) async throws -> ScratchStore {
    let holder = try await Connection.connect(connection)
    guard try await holder.execute(lock, Parameters(schema.name)).bool(0, 0) else {
      holder.close()
      throw CommandFailure(
        .failed, "inUse", "another run of this command uses schema \(schema) of this database: wait until it ends")
    }
    let keyring = try keyring ?? Keyring.ephemeral()
    var configuration = EventLogConfiguration(
      connection.connectionString, schema: schema, encryption: .sealed(keyring))
    configuration.connection = connection
    let store = ScratchStore(configuration: configuration, connection: connection, schema: schema, holder: holder)
    try await store.drop()
    try await Migrator(connection, schema: schema).migrate()
    return store
  }

  /// Lets others have the schema. (When this process ends, its server does.)
  func release() { holder.close() }

  func drop() async throws {
    let connection = try await Connection.connect(connection)
    defer { connection.close() }
    try await connection.script("SET client_min_messages = warning")
    // With what its projections have made.
    let schemas = try await connection.execute(Self.schemas, Parameters(schema.name))
    for row in schemas.indices { try await connection.script("DROP SCHEMA \(schemas.text(row, 0)) CASCADE") }
  }

  private static let lock = Statement("SELECT pg_try_advisory_lock(hashtextextended('scratch store ' || $1, 0))")
  private static let schemas = Statement(
    "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname ~ ('^' || $1 || '(_views|_[a-z0-9_]+_[0-9]+)?$')")
}
