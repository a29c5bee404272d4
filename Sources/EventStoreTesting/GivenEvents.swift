internal import EmbeddedPostgreSQL
public import EventStore
internal import FoundationEssentials
internal import Glibc
internal import PostgreSQL
public import Projections
public import Replay
internal import Synchronization
internal import SystemPackage

/// A test of one projection: the events that have happened, and the rows that they must lead to.
///
/// ```swift
/// @Test func balances() async throws {
///   try await GivenEvents(
///     .json("account-1", "account.deposited", #"{"amount":"12.50"}"#),
///     .json("account-1", "account.withdrawn", #"{"amount":"2.50"}"#)
///   )
///   .when(ReadModel(text, file: "balance.sql"))
///   .then("balance", #"{"account":"account-1","balance":10.00}"#)
/// }
/// ```
///
/// By PostgreSQL itself, in a transaction that is never committed. Without a server of your own a private one is started,
/// in the folder for temporary files, and kept for the next tests.
public struct GivenEvents: Sendable {
  /// An event of a test.
  public struct Given: Sendable {
    let stream: StreamName
    let event: EventData

    /// An event with all that it can have: metadata, a time at which it happened. Its subject is left out.
    public init(_ stream: StreamName, _ event: EventData) {
      self.stream = stream
      self.event = event
    }

    /// An event with a payload in JSON.
    public static func json(_ stream: StreamName, _ type: String, _ payload: String) -> Given {
      Given(stream, EventData(type: type, payload: .json(payload)))
    }

    /// An aggregate's event, as it is stored.
    public static func event<E: AggregateEvent>(_ stream: StreamName, _ event: E) throws -> Given {
      Given(stream, try EventCodec().encode(event))
    }
  }

  private let events: [RecordedEvent]
  private let server: TestServer

  /// The events as the log would have them: positions, and the versions in each stream, count from 1, in the given
  /// order; they are recorded one a second, from the beginning of 1970 on.
  ///
  /// - Parameter url: A server with a migrated store in `schema`. Default: a private one.
  public init(_ events: Given..., url: String? = nil, schema: SchemaName = "eventstore") {
    var versions: [StreamName: Int] = [:]
    self.events = events.enumerated().map { index, given in
      versions[given.stream, default: 0] += 1
      return RecordedEvent(
        id: given.event.id, stream: given.stream, version: versions[given.stream] ?? 1,
        position: Position(Int64(index + 1)), type: given.event.type, schemaVersion: given.event.schemaVersion,
        recordedAt: Date(timeIntervalSince1970: Double(index)), occurredAt: given.event.occurredAt?.asRecorded,
        metadata: given.event.metadata, payload: .success(given.event.payload))
    }
    server = url.map { .given($0, schema) } ?? .own
  }

  /// Applies the events by a file's statements: all at once, and one by one, which must lead to the same rows.
  ///
  /// - Throws: `ReadModelError`, ``UnexpectedOutcome``.
  public func when(_ model: ReadModel, codec: EventCodec = EventCodec()) async throws -> Projected {
    let own = events.filter { model.filter.admits($0) }
    func apply(_ batches: [[RecordedEvent]]) async throws -> [String: [String]] {
      try await inTransaction { connection, schema, store in
        try await ModelStatements.create(model.setup, of: model, on: connection)
        let statements = try await ModelStatements(model, tableSchema: schema, on: connection, store: store, codec)
        try await statements.check(on: connection)
        for batch in batches {
          try await statements.finish(statements.send(try statements.encode(batch), on: connection))
        }
        // What a function touches is known only afterwards.
        try await statements.checkTables(on: connection)
        return try await Self.rows(of: schema, on: connection)
      }
    }
    let together = try await apply([own])
    let singly = try await apply(own.map { [$0] })
    guard together == singly else {
      throw UnexpectedOutcome("applied as one set: \(together); applied one by one: \(singly)")
    }
    return Projected(rows: together)
  }

  /// Applies the events by a projection in code: all at once, and one by one, which must lead to the same rows.
  /// So it is run twice, as the live build is, with side effects; its error policy is not asked.
  ///
  /// - Throws: What the projection throws, ``UnexpectedOutcome``.
  public func when(_ projection: some Projection, codec: EventCodec = EventCodec()) async throws -> Projected {
    let own = events.filter { projection.filter.admits($0) }
    func apply(_ batches: [[RecordedEvent]]) async throws -> [String: [String]] {
      try await inTransaction { connection, schema, _ in
        let transaction = Transaction(connection)
        try await projection.createTables(in: transaction)
        try await projection.createIndexes(in: transaction)
        for batch in batches where !batch.isEmpty {
          try await projection.apply(ProjectionBatch(batch, codec: codec), in: transaction)
        }
        return try await Self.rows(of: schema, on: connection)
      }
    }
    let together = try await apply([own])
    let singly = try await apply(own.map { [$0] })
    guard together == singly else {
      throw UnexpectedOutcome("applied as one batch: \(together); applied one by one: \(singly)")
    }
    return Projected(rows: together)
  }

  // MARK: The database

  /// Tests run side by side: a schema of its own for each, and no more connections than any server has.
  private func inTransaction<R>(_ body: (Connection, _ schema: String, _ store: SchemaName) async throws -> R)
    async throws -> R
  {
    let (pool, store) = try await server.address()
    let lease = try await pool.lease()
    // Never committed.
    defer { lease.connection.close() }
    let schema = "eventstore_test_\(UUID().uuidString.lowercased().replacing("-", with: ""))"
    try await lease.connection.script(
      """
      BEGIN;
      CREATE SCHEMA \(schema);
      \(ModelStatements.settings("LOCAL", searchPath: "\(schema), pg_temp"))
      """)
    return try await body(lease.connection, schema, store)
  }

  /// As JSON, by table, ordered by their text.
  private static func rows(of schema: String, on connection: Connection) async throws -> [String: [String]] {
    var rows: [String: [String]] = [:]
    let tables = try await connection.execute(
      Statement("SELECT tablename::text FROM pg_tables WHERE schemaname = $1"), Parameters(schema))
    for table in tables.indices {
      let name = tables.text(table, 0)
      let found = try await connection.execute(
        Statement("SELECT row_to_json(t.*)::text FROM \(Statement.quoted(name)) t ORDER BY 1"))
      rows[name] = found.indices.map { found.text($0, 0) }
    }
    return rows
  }
}

/// What a projection made of the events of a test.
public struct Projected: Sendable {
  /// Rows as JSON, by table, ordered by their text.
  public let rows: [String: [String]]

  /// A table has these rows, in any order: compared as JSON text, as PostgreSQL writes it.
  ///
  /// - Throws: ``UnexpectedOutcome``.
  @discardableResult
  public func then(_ table: String, _ expected: String...) throws -> Projected {
    guard let found = rows[table] else {
      throw UnexpectedOutcome("there is no table \(table); there are: \(rows.keys.sorted().joined(separator: ", "))")
    }
    guard found.sorted() == expected.sorted() else {
      throw UnexpectedOutcome("table \(table): expected \(expected.sorted()), found \(found.sorted())")
    }
    return self
  }
}

/// Where tests of projections run.
private enum TestServer {
  case given(String, SchemaName)
  case own

  /// Started once a process, and found running by the next. Each version of this library has a store of its own there:
  /// tests of two may run side by side.
  private static let started = Task {
    let folder = FileManager.default.temporaryDirectory.path + "/eventstore-testing-\(getuid())"
    // Its own folder the server may have to give to another account, where we are root; this one stays ours.
    if mkdir(folder, 0o711) == 0 { chmod(folder, 0o711) }
    try refuseForeign(folder)
    let url = try await EmbeddedCluster(directory: FilePath(folder + "/cluster")).start()
    let schema = try SchemaName("eventstore_\(Migrator.digestOfContents.prefix(16))")
    try await Migrator(ConnectionConfiguration(url), schema: schema).migrateIfNeeded()
    return (url: url, schema: schema)
  }

  /// The temporary directory is everybody's, and tests are not to be led to a stranger's server.
  private static func refuseForeign(_ folder: String) throws {
    var status = stat()
    guard lstat(folder, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == geteuid(), status.st_mode & 0o022 == 0 else {
      throw UnexpectedOutcome("\(folder) is not a directory of ours alone: remove it")
    }
  }

  private static let pools = Mutex<[String: ConnectionPool]>([:])

  func address() async throws -> (pool: ConnectionPool, store: SchemaName) {
    switch self {
    case .given(let url, let schema): return (Self.pool(url), schema)
    case .own:
      let (url, schema) = try await Self.started.value
      return (Self.pool(url), schema)
    }
  }

  /// One a server: it is what tests wait for when there are many.
  private static func pool(_ url: String) -> ConnectionPool {
    pools.withLock { pools in
      if let pool = pools[url] { return pool }
      var configuration = ConnectionConfiguration(url)
      configuration.poolTimeout = .seconds(3600)
      let pool = ConnectionPool(configuration)
      pools[url] = pool
      return pool
    }
  }
}
