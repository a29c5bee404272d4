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
    default: false
    }
  }
}
