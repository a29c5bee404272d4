import EventStore
import Projections

/// A rebuild of a read model from the first event on, beside the live one.
final class Rebuilds: Contestant {
  private let log: PostgreSQLEventLog
  private let catalog: ProjectionCatalog
  private let events: Int

  init(_ configuration: EventLogConfiguration, events: Int) async throws {
    log = try await PostgreSQLEventLog.open(configuration)
    catalog = ProjectionCatalog(log)
    self.events = events
    try await catalog.registerLive(log)
  }

  func prepareRound() async throws {
    if try await catalog.builds(of: "balance").contains(where: { $0.role == .new }) {
      try await catalog.abandon("balance")
    }
  }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(1, for: duration) { [self] _, _ in
      let built = try await catalog.rebuild("balance")
      guard built.applied >= events else { throw Problem("\(built.applied) events, not \(events)") }
      return Tally(events: built.applied)
    }
  }

  func end() async { await log.close() }
}

extension ProjectionCatalog {
  /// The balance model, live and at the end of the log.
  func registerLive(_ log: PostgreSQLEventLog) async throws {
    try await register(try BalanceModel.model())
    let running = Task { try await ProjectionRunner(log).run() }
    while try await !builds(of: "balance").contains(where: { $0.role == .live }) {
      try await Task.sleep(for: .milliseconds(20))
    }
    running.cancel()
    try await running.value
  }
}
