internal import EventStore
internal import PostgreSQL

/// A store in a schema of its own that may be thrown away: for `demo` and `bench`.
struct ScratchStore {
  let configuration: EventLogConfiguration
  private let connection: ConnectionConfiguration
  private let schema: SchemaName

  /// Makes it anew: one of the same name, left by an earlier run, is dropped.
  static func make(
    named schema: SchemaName, _ connection: ConnectionConfiguration, keyring: Keyring? = nil
  ) async throws -> ScratchStore {
    let keyring = try keyring ?? Keyring.ephemeral()
    var configuration = EventLogConfiguration(
      connection.connectionString, schema: schema, encryption: .sealed(keyring))
    configuration.connection = connection
    let store = ScratchStore(configuration: configuration, connection: connection, schema: schema)
    try await store.drop()
    try await Migrator(connection, schema: schema).migrate()
    return store
  }

  func drop() async throws {
    let connection = try await Connection.connect(connection)
    defer { connection.close() }
    try await connection.script("SET client_min_messages = warning")
    // With what its projections have made.
    let schemas = try await connection.execute(Self.schemas, Parameters(schema.name))
    for row in schemas.indices { try await connection.script("DROP SCHEMA \(schemas.text(row, 0)) CASCADE") }
  }

  private static let schemas = Statement(
    "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname ~ ('^' || $1 || '(_views|_[a-z0-9_]+_[0-9]+)?$')")
}
