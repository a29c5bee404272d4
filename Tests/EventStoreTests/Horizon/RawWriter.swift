import EventStore
import FoundationEssentials
import PostgreSQL
import TestSupport

/// A writer that takes its time between BEGIN, append and COMMIT, and does everything that can go wrong.
struct RawWriter {
  let connectionString: String
  let stream: StreamName
  var numbers: SeededNumbers

  static let applicationName = "raw writer"

  /// Transactions of random shape until `deadline`. A killed connection is replaced.
  mutating func run(until deadline: ContinuousClock.Instant) async throws {
    var configuration = ConnectionConfiguration(connectionString)
    configuration.applicationName = Self.applicationName
    // Killed while it was prepared, a transaction stays undecided until the test's end, and whoever appends to the same
    // stream waits for it.
    configuration.statementTimeout = .seconds(1)
    var connection: Connection?
    while ContinuousClock.now < deadline {
      do {
        let current: Connection
        if let connection, connection.failure == nil {
          current = connection
        } else {
          current = try await Connection.connect(configuration)
          connection = current
        }
        try await transaction(on: current)
      } catch let error as PostgreSQLError where error.isUnavailable || error.sqlState == "57014" {
        connection?.close()
        connection = nil
      }
    }
    connection?.close()
  }

  private mutating func transaction(on connection: Connection) async throws {
    try await connection.script("BEGIN")
    try await pause(5)
    for _ in 0..<Int.random(in: 1...2, using: &numbers) {
      try await connection.script(append(events: Int.random(in: 1...3, using: &numbers)))
      try await pause(25)
    }
    switch Int.random(in: 0..<10, using: &numbers) {
    case 0, 1: try await connection.script("ROLLBACK")
    case 2, 3:
      let name = "prepared \(numbers.next())"
      try await connection.script("PREPARE TRANSACTION '\(name)'")
      try await pause(40)
      // The outcome is decided on another connection: this one may be killed in between.
      let decision = Bool.random(using: &numbers) ? "COMMIT" : "ROLLBACK"
      let other = try await Connection.connect(ConnectionConfiguration(connectionString))
      defer { other.close() }
      try await other.script("\(decision) PREPARED '\(name)'")
    default: try await connection.script("COMMIT")
    }
  }

  private mutating func pause(_ milliseconds: Int) async throws {
    try await Task.sleep(for: .milliseconds(Int.random(in: 0...milliseconds, using: &numbers)))
  }

  /// A call of the append function that expects any version.
  private func append(events: Int) -> String {
    let ids = (0..<events).map { _ in "'\(UUID())'" }
    func list(_ value: String) -> String { Array(repeating: value, count: events).joined(separator: ",") }
    return """
      SELECT eventstore.append(
        ARRAY[0]::bigint[], ARRAY['\(stream)'], ARRAY[-1]::bigint[], NULL, ARRAY[\(ids[0])]::uuid[],
        ARRAY[\(list("1"))]::integer[], ARRAY[\((1...events).map(String.init).joined(separator: ","))]::integer[],
        ARRAY[\(ids.joined(separator: ","))]::uuid[], ARRAY[\(list("'raw'"))]::text[],
        ARRAY[\(list("1"))]::integer[], ARRAY[\(list("NULL"))]::timestamptz[], ARRAY[\(list("NULL"))]::bytea[],
        ARRAY[\(list("'\\x00'"))]::bytea[], NULL, NULL, NULL, NULL, NULL)
      """
  }
}
