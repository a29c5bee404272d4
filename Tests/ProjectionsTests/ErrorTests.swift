import EventStore
import FoundationEssentials
import PostgreSQL
import Projections
import Replay
import TestSupport
import Testing

@Suite("Events that cannot be applied", .database, .timeLimit(.minutes(15)))
struct ErrorTests {
  /// 300 events, three of which break the table's rule.
  private func fill(_ log: PostgreSQLEventLog) async throws {
    for number in 0..<300 {
      let cents = [70, 71, 250].contains(number) ? -1 : 1
      try await log.append([Model.deposit(cents)], to: Model.stream(number), expecting: .noStream)
    }
  }

  private func text(_ head: String, streams: String = "independent") -> String {
    Model.text(streams: streams, table: "cents bigint NOT NULL CHECK (cents > 0)", head: head)
  }

  @Test(
    "by default it stops before the event, says which, and goes on once the cause is gone; others go on meanwhile",
    arguments: ["independent", "ordered"])
  func stops(streams: String) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await fill(log)
      try await catalog.register(try Model.model(text("", streams: streams)))
      try await catalog.register(try Model.model(Model.text(name: "other")))
      try await withRunner(log, options: quick { $0.parallelFrom = streams == "ordered" ? 1 : .max }) {
        try await eventually("stopped") { try await catalog.builds(of: "balance")[0].failure != nil }
        let build = try await catalog.builds(of: "balance")[0]
        let failure = try #require(build.failure)
        #expect(build.state == .stopped && build.applied == 70)
        #expect(failure.stream == "account-70" && failure.version == 1 && failure.type == "deposited")
        #expect(failure.problem.contains("violates check constraint") && !failure.problem.contains("-1"))
        try await eventually("the other one is live") { try await catalog.builds(of: "other")[0].role == .live }
        #expect(try await database.number("SELECT count(*) FROM eventstore_views.other") == 300)
        let schema = build.tableSchema(of: "eventstore")
        #expect(try await database.number("SELECT count(*) FROM \(schema).balance") == 70)
        try await database.sql("ALTER TABLE \(schema).balance DROP CONSTRAINT balance_cents_check")
        try await catalog.resume("balance")
        try await eventually("live") { try await catalog.builds(of: "balance")[0].role == .live }
        #expect(try await database.number("SELECT count(*) FROM eventstore_views.balance") == 300)
      }
    }
  }

  @Test("skipped: written down, everything else applied; then retried", arguments: [1, 4])
  func skips(connections: Int) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await fill(log)
      try await catalog.register(try Model.model(text("-- on error: retry 1, then skip")))
      try await withRunner(log, options: quick { $0.connections = connections }) {
        try await eventually("live") { try await catalog.builds()[0].role == .live }
      }
      let skipped = try await catalog.skipped(of: "balance")
      #expect(skipped.map(\.stream) == ["account-70", "account-71", "account-250"])
      #expect(skipped.allSatisfy { $0.problem.contains("check constraint") && $0.version == 1 })
      #expect(try await database.number("SELECT count(*) FROM eventstore_views.balance") == 297)
      await #expect(throws: ReadModelError.self) { try await catalog.retry(skipped[0]) }
      #expect(try await catalog.skipped(of: "balance").count == 3)
      let schema = try await catalog.builds()[0].tableSchema(of: "eventstore")
      try await database.sql("ALTER TABLE \(schema).balance DROP CONSTRAINT balance_cents_check")
      for event in skipped { try await catalog.retry(event) }
      // A second time there is nothing to do.
      try await catalog.retry(skipped[0])
      #expect(try await catalog.skipped(of: "balance").isEmpty)
      #expect(try await database.number("SELECT count(*) FROM eventstore_views.balance") == 300)
    }
  }

  @Test("retried: an event whose time has not come yet")
  func retries() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await fill(log)
      try await catalog.register(try Model.model(text("-- on error: retry 200")))
      try await withRunner(log, options: quick { $0.connections = 1 }) {
        try await eventually("at the event") { try await catalog.builds()[0].applied == 70 }
        try await Task.sleep(for: .milliseconds(300))
        #expect(try await catalog.builds()[0].failure == nil)
        let schema = try await catalog.builds()[0].tableSchema(of: "eventstore")
        try await database.sql("ALTER TABLE \(schema).balance DROP CONSTRAINT balance_cents_check")
        try await eventually("live") { try await catalog.builds()[0].role == .live }
      }
    }
  }

  @Test("an event type without a statement stops it, and says what to write")
  func unhandled() async throws {
    try await TestDatabase.required.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await log.append([Model.deposit(1)], to: "account-1", expecting: .noStream)
      try await log.append([EventData(type: "closed", payload: .json("{}"))], to: "account-1", expecting: .exact(1))
      try await catalog.register(try Model.model(Model.first))
      try await withRunner(log) {
        try await eventually("stopped") { try await catalog.builds()[0].failure != nil }
      }
      let failure = try #require(try await catalog.builds()[0].failure)
      #expect(failure.type == "closed" && failure.problem.contains("-- ignore: closed"))
    }
  }

  @Test("a table that was dropped, in the live model: it stops, and says so")
  func dropped() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await catalog.register(try Model.model(Model.first))
      try await withRunner(log) {
        try await eventually("live") { try await catalog.builds()[0].role == .live }
        let schema = try await catalog.builds()[0].tableSchema(of: "eventstore")
        try await database.sql("DROP TABLE \(schema).balance CASCADE")
        try await log.append([Model.deposit(1)], to: "account-1", expecting: .noStream)
        try await eventually("stopped") { try await catalog.builds()[0].failure != nil }
        #expect(try await catalog.builds()[0].failure?.problem.contains("does not exist") == true)
      }
    }
  }

  enum Missing: String, CaseIterable { case table, function, privilege, keys }

  @Test(
    "what is no event's fault skips none: it stops at the first one, and goes on once that is mended",
    arguments: Missing.allCases)
  func surroundings(missing: Missing) async throws {
    let database = try TestDatabase.required
    let name = try await database.column("SELECT current_database()::text", as: String.self)[0]
    try await database.sql(
      """
      CREATE FUNCTION public.noted(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
      GRANT CREATE ON DATABASE \(name) TO eventstore_projector
      """)
    let role = " options='-c role=eventstore_projector'"
    // The master key is written down by who may.
    try await database.withLog { _ in }
    try await database.withLog({ if missing == .privilege { $0.connection.connectionString += role } }) { log in
      let catalog = ProjectionCatalog(log)
      try await catalog.register(
        try Model.model(
          Model.text(
            columns: "note text", values: ", public.noted(min(stream))", head: "-- on error: retry 1, then skip")))
      try await withRunner(log) { try await eventually("live") { try await catalog.builds()[0].role == .live } }
      let schema = try await catalog.builds()[0].tableSchema(of: "eventstore")
      let (take, give) =
        switch missing {
        case .table: ("ALTER TABLE \(schema).balance RENAME TO away", "ALTER TABLE \(schema).away RENAME TO balance")
        case .function:
          (
            "ALTER FUNCTION public.noted(text) RENAME TO away", "ALTER FUNCTION public.away(text) RENAME TO noted"
          )
        case .privilege:
          (
            "REVOKE EXECUTE ON FUNCTION public.noted(text) FROM PUBLIC",
            "GRANT EXECUTE ON FUNCTION public.noted(text) TO PUBLIC"
          )
        case .keys:
          (
            "SET session_replication_role TO replica; CREATE TABLE keys AS TABLE eventstore.data_keys; DELETE FROM eventstore.data_keys",
            "SET session_replication_role TO replica; INSERT INTO eventstore.data_keys SELECT * FROM keys"
          )
        }
      try await database.withLog { try await fill($0) }
      try await database.sql(take)
      // With nothing in memory of what was there.
      try await database.withLog({ if missing == .privilege { $0.connection.connectionString += role } }) { log in
        try await withRunner(log, options: quick { $0.connections = 1 }) {
          try await eventually("stopped") { try await catalog.builds()[0].failure != nil }
        }
      }
      #expect(try await catalog.builds()[0].failure?.stream == "account-0")
      #expect(try await catalog.skipped().isEmpty)
      try await database.sql(give)
      try await catalog.resume("balance")
      try await database.withLog { log in
        try await withRunner(log) { try await catalog.wait(for: "balance") }
      }
      #expect(try await database.number("SELECT count(*) FROM eventstore_views.balance") == 300)
    }
  }
}
