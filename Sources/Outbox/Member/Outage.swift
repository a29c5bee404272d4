internal import EventStore
internal import PostgreSQL

/// The database is away, and may come back.
enum Outage {
  /// Nothing but the way to the server, and the server itself: no statement, and nobody's data, can be to blame.
  static func isOfConnection(_ error: any Error) -> Bool {
    switch error {
    case let error as PostgreSQLError:
      switch error.code {
      case .connectFailed, .connectionLost, .unconfirmed, .poolTimeout: true
      case .server:
        error.sqlState?.prefix(2) == "08" || ["53300", "57P01", "57P02", "57P03"].contains(error.sqlState ?? "")
      default: false
      }
    case AppendError.unavailable(let error), AppendError.outcomeUnknown(let error), AppendError.database(let error):
      isOfConnection(error)
    case ReadError.unavailable(let error), ReadError.database(let error): isOfConnection(error)
    default: false
    }
  }

  static func isMeant(by error: any Error) -> Bool {
    switch error {
    case let error as PostgreSQLError:
      switch error.code {
      case .connectFailed, .connectionLost, .unconfirmed, .poolTimeout, .timeout: true
      case .server: ["08", "40", "53", "55", "57", "58"].contains(error.sqlState?.prefix(2) ?? "")
      default: false
      }
    case let error as ReadError:
      switch error {
      case .unavailable: true
      case .database(let error): isMeant(by: error)
      default: false
      }
    default: false
    }
  }

  /// Runs `body`, and again while the database is away.
  ///
  /// - Parameters:
  ///   - isOutage: What counts as its absence.
  ///   - told: Of each time that it was.
  /// - Throws: What `body` throws that is no outage; `CancellationError`.
  static func waitOut<R>(
    _ isOutage: (any Error) -> Bool = isMeant, told: (any Error) -> Void = { _ in }, _ body: () async throws -> R
  ) async throws -> R {
    var pause = Duration.milliseconds(50)
    while true {
      do {
        return try await body()
      } catch {
        guard isOutage(error) else { throw error }
        told(error)
      }
      try await Task.sleep(for: pause * Double.random(in: 0.75...1.25))
      pause = min(pause * 2, .seconds(1))
    }
  }
}
