public import EventStore
import FoundationEssentials
public import PostgreSQL

/// A database of a test's own with an empty, up-to-date store in schema `eventstore`, and a new keyring.
public struct TestDatabase: Sendable {
  public let connectionString: String
  public let keyring: Keyring

  /// The database of the running test, given by the trait ``DatabaseTrait``.
  @TaskLocal public static var current: TestDatabase?

  /// The running test's database.
  ///
  /// - Throws: ``NoTestDatabase`` in a test without the trait.
  public static var required: TestDatabase {
    get throws {
      guard let current else { throw NoTestDatabase() }
      return current
    }
  }

  public init(connectionString: String, keyring: Keyring) {
    self.connectionString = connectionString
    self.keyring = keyring
  }

  /// Runs `body` with a new database and drops it afterwards. Few of them exist at a time.
  public static func with<R>(_ body: (TestDatabase) async throws -> R) async throws -> R {
    await Gate.databases.enter()
    defer { Gate.databases.leave() }
    let administration = try await TestServer.administration.value
    let name = "test_\(UUID().uuidString.lowercased().replacing("-", with: ""))"
    try await TestServer.sql(
      administration, "CREATE DATABASE \(name) TEMPLATE \(TestServer.templateDatabase)")
    let database = TestDatabase(
      connectionString: ConnectionString.withDatabase(name, in: administration), keyring: try .ephemeral())
    do {
      let result = try await body(database)
      try await TestServer.sql(administration, "DROP DATABASE \(name) WITH (FORCE)")
      return result
    } catch {
      try? await TestServer.sql(administration, "DROP DATABASE \(name) WITH (FORCE)")
      throw error
    }
  }

  // MARK: The store

  /// The configuration of a sealed log over this database.
  public var configuration: EventLogConfiguration {
    var configuration = EventLogConfiguration(connectionString, encryption: .sealed(keyring))
    configuration.connection.maximumConnections = 8
    return configuration
  }

  @discardableResult
  public func withLog<R>(
    _ configure: (inout EventLogConfiguration) -> Void = { _ in },
    _ body: (PostgreSQLEventLog) async throws -> R
  ) async throws -> R {
    var configuration = configuration
    configure(&configuration)
    return try await PostgreSQLEventLog.withLog(configuration, body)
  }

  // MARK: SQL

  /// Runs SQL on a connection of its own as the superuser.
  @discardableResult
  public func sql(_ text: String) async throws -> Rows {
    try await withConnection { try await $0.script(text) }
  }

  /// The first column of the first row.
  public func number(_ query: String, _ parameters: Parameters = Parameters()) async throws -> Int {
    let values = try await column(query, parameters, as: Int.self)
    guard let value = values.first else { throw NoRow() }
    return value
  }

  /// The first column of every row.
  public func column<V: PostgreSQLDecodable>(
    _ query: String, _ parameters: Parameters = Parameters(), as type: V.Type = V.self
  ) async throws -> [V] {
    try await withConnection { connection in
      var values: [V] = []
      for row in try await connection.execute(Statement(query), parameters) {
        let value = try row.decode(V.self)
        values.append(value)
      }
      return values
    }
  }

  @discardableResult
  public func withConnection<R>(_ body: (Connection) async throws -> R) async throws -> R {
    let connection = try await Connection.connect(ConnectionConfiguration(connectionString))
    defer { connection.close() }
    return try await body(connection)
  }
}

public struct NoTestDatabase: Error, CustomStringConvertible {
  public var description: String { "the test has no database: add the trait .database to it or to its suite" }
}

public struct NoRow: Error, CustomStringConvertible {
  public var description: String { "the query returned no row, where a test expects one" }
}
