import EventStore
import FoundationEssentials
import PostgreSQL
import Projections
import Replay
import TestSupport
import Testing

/// Takes its time for each event.
private struct Slow: Projection {
  let name = "slow"
  let version = 1
  let streamsAreIndependent = true
  let errorPolicy = ErrorPolicy.skip
  /// In a statement for all of them.
  var statement = 0.0
  /// Of its own.
  var thought = Duration.zero
  /// Whether that comes after its last statement.
  var thinksLast = false
  /// For ever.
  var hopeless: StreamName?

  func createTables(in transaction: borrowing Transaction) async throws {
    try await transaction.execute(Statement("CREATE TABLE slow (stream text, version bigint)"))
  }

  func apply(_ batch: ProjectionBatch, in transaction: borrowing Transaction) async throws {
    for event in batch.events {
      try await transaction.execute(
        Statement("INSERT INTO slow VALUES ($1, $2)"), Parameters(event.stream.description, event.version))
    }
    if !thinksLast { try await Task.sleep(for: thought * batch.events.count) }
    let isHopeless = batch.events.contains { $0.stream == hopeless }
    try await transaction.execute(
      Statement("SELECT pg_sleep($1)"), Parameters(isHopeless ? 60 : statement * Double(batch.events.count)))
    if thinksLast { try await Task.sleep(for: thought * batch.events.count) }
  }
}

@Suite("Events that take too long", .database, .timeLimit(.minutes(15)))
struct TooLongTests {
  private func withSlow(
    _ events: Int, _ projection: Slow, connections: Int = 1,
    _ body: (ProjectionCatalog, TestDatabase) async throws -> Void
  ) async throws {
    let database = try TestDatabase.required
    try await database.withLog({ $0.connection.statementTimeout = .milliseconds(500) }) { log in
      for number in 0..<events {
        try await log.append([Model.deposit(1)], to: Model.stream(number), expecting: .noStream)
      }
      let options = quick {
        $0.connections = connections
        $0.parallelFrom = connections > 1 ? 1 : .max
      }
      try await withRunner(log, [projection], options: options) { try await body(ProjectionCatalog(log), database) }
    }
  }

  @Test("a batch whose statement is cut off is divided until it fits, by the log and in parallel", arguments: [1, 3])
  func divided(connections: Int) async throws {
    try await withSlow(120, Slow(statement: 0.02), connections: connections) { catalog, database in
      try await eventually("live") { try await catalog.builds().first?.role == .live }
      #expect(try await database.number("SELECT count(DISTINCT stream) FROM eventstore_views.slow") == 120)
      #expect(try await database.number("SELECT count(*) FROM eventstore_views.slow") == 120)
    }
  }

  @Test("so is one whose code takes longer than a transaction may idle", arguments: [false, true])
  func idle(atTheEnd: Bool) async throws {
    try await withSlow(2, Slow(thought: .seconds(6), thinksLast: atTheEnd)) { catalog, database in
      try await eventually("live", within: .seconds(60)) { try await catalog.builds().first?.role == .live }
      #expect(try await database.number("SELECT count(*) FROM eventstore_views.slow") == 2)
    }
  }

  @Test("an event that takes too long by itself stops it, and is not skipped, though the policy is to skip")
  func hopeless() async throws {
    try await withSlow(8, Slow(hopeless: Model.stream(5))) { catalog, database in
      try await eventually("stopped", within: .seconds(60)) { try await catalog.builds().first?.failure != nil }
      let build = try #require(try await catalog.builds().first)
      let failure = try #require(build.failure)
      #expect(failure.stream == "account-5" && failure.problem.contains("statementTimeout"))
      #expect(try await catalog.skipped().isEmpty)
      #expect(build.applied == 5)
    }
  }
}
