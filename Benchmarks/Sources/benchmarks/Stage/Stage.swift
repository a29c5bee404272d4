import EventStore
import FoundationEssentials
import PostgreSQL

/// Where contestants meet: one server, one keyring, one folder for files; stores and tables are made anew for each
/// scenario.
actor Stage {
  nonisolated let url: String
  nonisolated let effort: Effort
  private let folder: String
  private let keyring: Keyring
  private var filled: [Bool: EventLogConfiguration] = [:]
  private var schemas: Set<String> = []

  init(url: String, effort: Effort, folder: String) throws {
    self.url = url
    self.effort = effort
    self.folder = folder
    keyring = try Keyring.create(file: "\(folder)/keyring")
  }

  nonisolated var keyringPath: String { "\(folder)/keyring" }

  func path(of file: String) -> String { "\(folder)/\(file)" }

  /// A new, empty store.
  func store(_ name: String = "benchmarks_store", isSealed: Bool = true) async throws -> EventLogConfiguration {
    let schema = try SchemaName(name)
    try await drop(schema)
    var configuration = EventLogConfiguration(url, schema: schema, encryption: isSealed ? .sealed(keyring) : .off)
    configuration.connection.applicationName = "benchmarks"
    try await Migrator(configuration.connection, schema: schema).migrate()
    return configuration
  }

  /// A store with many events, made once a run.
  func filledStore(isSealed: Bool = true) async throws -> EventLogConfiguration {
    if let made = filled[isSealed] { return made }
    let configuration = try await store(isSealed ? "benchmarks_sealed" : "benchmarks_plain", isSealed: isSealed)
    try await FilledStore.fill(configuration, events: effort.eventsToRead)
    // Sets the hint bits of all rows, which the first reader would have to do.
    try await sql("VACUUM (ANALYZE) \(configuration.schema).events")
    filled[isSealed] = configuration
    return configuration
  }

  func vacuum(_ store: EventLogConfiguration) async throws { try await sql("VACUUM (ANALYZE) \(store.schema).events") }

  /// The numbers that the store gave to streams.
  func streamIDs(of names: [StreamName], _ store: EventLogConfiguration) async throws -> [Int64] {
    let connection = try await Connection.connect(store.connection)
    defer { connection.close() }
    let rows = try await connection.execute(
      Statement("SELECT stream_id FROM \(store.schema).streams WHERE name = ANY ($1::text[])"),
      Parameters(BinaryArray(names.map(\.description))))
    return rows.indices.map { rows.int64($0, 0) }
  }

  /// A new schema for a yardstick's tables, made by `definitions`.
  func yardstick(_ definitions: String) async throws {
    try await drop(try SchemaName(YardstickTable.schema))
    try await sql("CREATE SCHEMA \(YardstickTable.schema)")
    try await sql(definitions)
  }

  /// Leaves no work of the last scenario to the next.
  func settle() async throws {
    // Not allowed to every role: then the next scenario begins with dirty pages.
    try? await sql("CHECKPOINT")
  }

  /// Drops all that was made; also when the run was cancelled, which a task of its own does not notice.
  func clear() async {
    await Task {
      for name in schemas {
        try? await drop(try SchemaName(name))
        try? await sql("DROP ROLE IF EXISTS \(name)_writer, \(name)_reader")
      }
    }.value
  }

  private func drop(_ schema: SchemaName) async throws {
    schemas.insert(schema.name)
    let connection = try await Connection.connect(ConnectionConfiguration(url))
    defer { connection.close() }
    try await connection.script("SET client_min_messages = warning")
    // With what its projections have made.
    let made = try await connection.execute(Self.made, Parameters(schema.name))
    for row in made.indices {
      try await connection.script("DROP SCHEMA \(made.text(row, 0)) CASCADE", timeout: .seconds(600))
    }
  }

  private static let made = Statement(
    "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname ~ ('^' || $1 || '(_views|_[a-z0-9_]+_[0-9]+)?$')")

  private func sql(_ text: String) async throws {
    let connection = try await Connection.connect(ConnectionConfiguration(url))
    defer { connection.close() }
    try await connection.script(text, timeout: .seconds(600))
  }
}
