import Glibc
import PostgreSQL
import TestSupport
import Testing

/// Runs `body` with a connection to the running test's database and closes it afterwards.
func withConnection<R>(
  _ configure: (inout ConnectionConfiguration) -> Void = { _ in }, _ body: (Connection) async throws -> R
) async throws -> R {
  var configuration = ConnectionConfiguration(try TestDatabase.required.connectionString)
  configure(&configuration)
  let connection = try await Connection.connect(configuration)
  defer { connection.close() }
  return try await body(connection)
}

/// Runs `body` with a pool on the running test's database and closes it afterwards.
func withPool<R>(
  maximum: Int = 4, _ configure: (inout ConnectionConfiguration) -> Void = { _ in },
  _ body: (ConnectionPool) async throws -> R
) async throws -> R {
  var configuration = ConnectionConfiguration(try TestDatabase.required.connectionString)
  configuration.maximumConnections = maximum
  configure(&configuration)
  let pool = ConnectionPool(configuration)
  defer { pool.close() }
  return try await body(pool)
}

/// The error of `body`, which has to fail.
func failure<R>(
  sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> R
) async throws -> PostgreSQLError {
  try await #require(throws: PostgreSQLError.self, sourceLocation: sourceLocation) { _ = try await body() }
}

/// Waits until `condition` holds; fails the test when it does not within 10 s.
func eventually(
  sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async throws {
  for _ in 0..<1000 {
    if try await condition() { return }
    try await Task.sleep(for: .milliseconds(10))
  }
  Issue.record("the condition did not come true within 10 s", sourceLocation: sourceLocation)
}

/// How long `body` takes.
func duration(of body: () async throws -> Void) async rethrows -> Duration {
  try await ContinuousClock().measure(body)
}

extension Connection {
  /// The process id of the server's process for this connection.
  var backend: Int {
    get async throws { try await one("SELECT pg_backend_pid()") }
  }

  /// The only value of the only row.
  func one<V: PostgreSQLDecodable>(_ sql: String, _ parameters: Parameters = Parameters()) async throws -> V {
    let rows = try await execute(Statement(sql), parameters)
    return try #require(rows.first).decode(V.self)
  }
}

extension Rows {
  /// Whether the only value is `expected`. Faster than comparing arrays in a debug build.
  func holds(_ expected: [UInt8]) -> Bool {
    let bytes = bytes(0, 0)
    return bytes.count == expected.count
      && (bytes.baseAddress.map { memcmp($0, expected, bytes.count) == 0 } ?? true)
  }
}

extension TestDatabase {
  /// Whether the server's process `backend` runs a statement.
  func isActive(_ backend: Int) async throws -> Bool {
    try await number(
      "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid = $1::int8", Parameters(backend)) == 1
  }

  func terminate(_ backend: Int) async throws {
    _ = try await column("SELECT pg_terminate_backend($1::int8::int4)", Parameters(backend), as: Bool.self)
  }
}
