internal import EventStore
internal import PostgreSQL

/// The database is away, and may come back.
enum Outage {
  static func isMeant(by error: any Error) -> Bool {
    switch error {
    case let error as PostgreSQLError:
      switch error.code {
      case .connectFailed, .connectionLost, .poolTimeout, .timeout: true
      case .server: ["08", "40", "53", "55", "57", "58"].contains(error.sqlState?.prefix(2) ?? "")
      default: false
      }
    case let error as ReadError:
      switch error {
      case .unavailable: true
      case .database(let error): isMeant(by: error)
      default: false
      }
    case let error as AppendError:
      switch error {
      case .unavailable, .outcomeUnknown: true
      case .database(let error): isMeant(by: error)
      default: false
      }
    default: false
    }
  }

  /// Runs `body`, and again while the database is away.
  ///
  /// - Parameter told: Of each time that it was.
  /// - Throws: What `body` throws that is no outage; `CancellationError`.
  static func waitOut<R>(told: (any Error) -> Void = { _ in }, _ body: () async throws -> R) async throws -> R {
    var pause = Duration.milliseconds(50)
    while true {
      do {
        return try await body()
      } catch {
        guard isMeant(by: error) else { throw error }
        told(error)
      }
      try await Task.sleep(for: pause * Double.random(in: 0.75...1.25))
      pause = min(pause * 2, .seconds(1))
    }
  }
}
