internal import ArgumentParser
internal import EmbeddedPostgreSQL
internal import EventStore
internal import PostgreSQL
internal import SystemPackage

struct Up: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Start the private PostgreSQL and make its store ready.",
    discussion: "Example:\n  esctl up && psql \"$(esctl up --json | jq -r .url)\"")
  @OptionGroup var store: StoreOptions

  func run() async throws {
    let (connection, applied) = try await store.whenReady {
      let connection = try await store.connection()
      return (connection, try await Migrator(connection, schema: store.schemaName).migrate())
    }
    let output = StandardOutput()
    if store.json {
      output.line(
        .object([
          ("url", .string(connection.connectionString)), ("embedded", .boolean(store.isEmbedded)),
          ("migrationsApplied", .integer(applied.count)),
        ]))
    } else {
      // Of one's own server it may hold a password.
      output.line("ready: \(store.isEmbedded ? connection.connectionString : "the server of EVENTSTORE_URL")")
    }
  }
}

struct Down: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Stop the private PostgreSQL. Its data stays.", discussion: "Example:\n  esctl down")
  @OptionGroup var store: StoreOptions

  func run() async throws {
    guard store.isEmbedded else {
      throw CommandFailure(
        .usage, "usage", "EVENTSTORE_URL or --url names a server of your own: esctl stops only the private one")
    }
    try store.checkDirectory()
    let cluster = store.cluster
    let before = await cluster.status()
    var wasRunning = false
    if case .running = before {
      wasRunning = true
      // One that is told to stop while it recovers from a crash may never end.
      if let connection = cluster.connectionString() {
        _ = try? await store.whenReady(isStarted: false) {
          try await Connection.connect(ConnectionConfiguration(connection)).close()
        }
        try Task.checkCancellation()
      }
      try await cluster.stop {
        store.notice(
          "the private PostgreSQL had not ended after a minute: ending it at once. It recovers at the next start")
      }
    }
    let output = StandardOutput()
    if store.json {
      output.line(.object([("stopped", .boolean(wasRunning)), ("directory", .string(cluster.directory.string))]))
    } else {
      output.line(
        before == .absent
          ? "there is no private PostgreSQL in \(store.directoryPath)" : wasRunning ? "stopped" : "it was not running")
    }
  }
}

struct Status: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show the server, the store's schema and its size. Starts nothing.",
    discussion: "Examples:\n  esctl status\n  esctl status --json")
  @OptionGroup var store: StoreOptions

  func run() async throws {
    var server = "yours"
    var url = store.givenURL
    if store.isEmbedded {
      try store.checkDirectory()
      let cluster = store.cluster
      switch await cluster.status() {
      case .absent: server = "absent"
      case .stopped: server = "stopped"
      case .running(let pid): server = "running, pid \(pid)"
      }
      url = cluster.connectionString()
    }
    var members: [(String, JSONValue)] = [
      ("server", .string(server)), ("embedded", .boolean(store.isEmbedded)),
      ("schema", .string(try store.schemaName.name)),
    ]
    var lines = [("server", store.isEmbedded ? "private, in \(store.directoryPath): \(server)" : "EVENTSTORE_URL")]
    if let url {
      var configuration = ConnectionConfiguration(url)
      configuration.maximumConnections = 1
      let pool = ConnectionPool(configuration)
      defer { pool.close() }
      let inspection = StoreInspection(pool, schema: try store.schemaName)
      let status = try await inspection.migrationStatus()
      members.append(("migration", .string(status.text)))
      lines.append(("schema", "\(try store.schemaName), \(status.text)"))
      if case .upToDate = status {
        let size = try await inspection.size()
        let horizon = try await inspection.horizon()
        members += [
          ("estimatedEvents", .integer(size.estimatedEvents)), ("bytes", .integer(size.bytes)),
          ("lastPosition", .integer(Int(size.lastPosition.description) ?? 0)),
          ("horizon", .integer(Int(horizon.description) ?? 0)),
        ]
        lines += [
          ("events", "about \(Quantity.count(size.estimatedEvents)), \(Quantity.bytes(size.bytes)) on disk"),
          ("last position", size.lastPosition.description), ("horizon", horizon.description),
        ]
      }
    } else if store.isEmbedded {
      lines.append(("next", "esctl up"))
    }
    let output = StandardOutput()
    if store.json { return output.line(.object(members)) }
    let width = lines.map(\.0.count).max() ?? 0
    for (name, value) in lines { output.line(TextWidth.padded(name, to: width + 2) + value) }
  }
}

struct Migrate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make the store's schema, or bring it up to this binary's.",
    discussion: """
      Forward only, in one transaction; safe to run twice and from several processes at once. Refuses a database that \
      a newer esctl has migrated.

      Example:
        EVENTSTORE_URL=postgresql://localhost/shop esctl migrate
      """)
  @OptionGroup var store: StoreOptions

  func run() async throws {
    let applied = try await store.whenReady {
      try await Migrator(try await store.connection(), schema: store.schemaName).migrate()
    }
    let output = StandardOutput()
    if store.json {
      return output.line(
        .object([
          ("schema", .string(try store.schemaName.name)), ("applied", .array(applied.map { .string($0.name) })),
          ("latest", .string(Migrator.known.last?.name ?? "")),
        ]))
    }
    if applied.isEmpty { return output.line("schema \(try store.schemaName) is up to date") }
    for migration in applied { output.line("applied \(migration.name)") }
  }
}

extension Migrator.Status {
  var text: String {
    switch self {
    case .absent: "no store"
    case .behind(let at, let missing): "at migration \(at), \(missing) behind"
    case .upToDate(let at): "at migration \(at), up to date"
    case .newer(let at): "at migration \(at), newer than this esctl"
    }
  }
}
