internal import FoundationEssentials
internal import Glibc
package import PostgreSQL
internal import Synchronization

/// Shows others that this process is connected: a connection that holds an advisory lock, which goes with it.
package actor Presence {
  private let configuration: ConnectionConfiguration
  /// Takes the lock whose number is its parameter.
  private let lock: Statement
  private var connection: Connection?
  private var number: Int32?
  /// Whose number others were told.
  private let told = Mutex<Connection?>(nil)

  package init(_ configuration: ConnectionConfiguration, lock: Statement) {
    self.configuration = configuration
    self.lock = lock
  }

  deinit { connection?.close() }

  /// Host and process id, for people.
  package static let process: String = {
    var name = [CChar](repeating: 0, count: 256)
    let host =
      gethostname(&name, name.count - 1) == 0
      ? String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) : "?"
    return "\(host):\(getpid())"
  }()

  /// The number of the lock that is held. Behind a proxy that shares sessions there is none, nor while the server is away: then
  /// only time shows that this process is gone.
  package func hold() async -> Int32? {
    guard configuration.preparedStatements else { return nil }
    if let connection, connection.failure == nil { return number }
    connection = nil
    number = nil
    guard let made = try? await Connection.connect(configuration) else { return nil }
    // Another number than that of a connection which the server may not have given up yet.
    let candidate = Int32.random(in: .min ... .max)
    guard (try? await made.execute(lock, Parameters(candidate)).bool(0, 0)) == true, connection == nil else {
      made.close()
      return number
    }
    number = candidate
    connection = made
    return candidate
  }

  /// Others were told of this number, or that there is none.
  package func wasTold(_ number: Int32?) {
    let connection = number != nil && number == self.number ? connection : nil
    told.withLock { $0 = connection }
  }

  /// The connection whose number others were told is gone: they take this process for dead, until they are told of another.
  package nonisolated var isCut: Bool { told.withLock { $0 }?.failure != nil }

  /// Runs a statement on the connection that holds the lock, which nobody else uses; where there is none, on the pool's.
  package func execute(
    _ statement: Statement, _ parameters: Parameters, timeout: Duration, orOn pool: ConnectionPool
  ) async throws(PostgreSQLError) -> Rows {
    guard let connection, connection.failure == nil else {
      return try await pool.execute(statement, parameters, timeout: timeout)
    }
    return try await connection.execute(statement, parameters, timeout: timeout)
  }

  package func end() {
    connection?.close()
    connection = nil
    number = nil
  }
}
