import EventStore
import EventStoreTesting
import TestSupport
import Testing

/// The stores that must behave alike.
enum Backend: CaseIterable, CustomTestStringConvertible, Sendable {
  case memory
  case postgreSQL

  static let all = allCases

  var testDescription: String {
    switch self {
    case .memory: "in memory"
    case .postgreSQL: "PostgreSQL"
    }
  }

  /// Runs `body` with an empty log.
  func withLog(_ body: (any EventLog) async throws -> Void) async throws {
    switch self {
    case .memory: try await body(InMemoryEventLog(maximumPayloadBytes: 1 << 20))
    case .postgreSQL:
      try await TestDatabase.with { database in
        // Small pages, so that reading turns pages.
        try await database.withLog({
          $0.pageSize = 7
          $0.maximumPayloadBytes = 1 << 20
        }) { log in try await body(log) }
      }
    }
  }
}
