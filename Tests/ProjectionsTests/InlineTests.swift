import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Projections
import Replay
import TestSupport
import Testing

private struct Purse: Aggregate, Equatable {
  static let category = "account"

  enum Event: AggregateEvent {
    case deposited(cents: Int)
    enum CodingKeys: String, CodingKey, CaseIterable { case deposited }
  }

  var cents = 0

  mutating func apply(_ event: Event) {
    switch event {
    case .deposited(let more): cents += more
    }
  }
}

@Suite("Inline projections", .database, .timeLimit(.minutes(15)))
struct InlineTests {
  static let table = "cents bigint NOT NULL CHECK (cents > -1000)"
  static func text(_ version: Int = 1, columns: String = "", values: String = "", update: String = "") -> String {
    Model.text(
      version: version, table: table, columns: columns, values: values, update: update, head: "-- mode: inline")
  }

  /// Runs it for as long as it needs.
  func engage(_ catalog: ProjectionCatalog, _ log: PostgreSQLEventLog) async throws {
    try await withRunner(log) {
      try await eventually("engaged") { try await catalog.builds()[0].state == .inline }
    }
  }

  func withInline(
    in database: TestDatabase? = nil, statementTimeout: Duration? = nil,
    _ body: (PostgreSQLEventLog, InlineLog, ProjectionCatalog) async throws -> Void
  ) async throws {
    try await (database ?? TestDatabase.required).withLog({ configuration in
      if let statementTimeout { configuration.connection.statementTimeout = statementTimeout }
    }) { log in
      let catalog = ProjectionCatalog(log)
      try await log.append([Model.deposit(5), Model.deposit(6)], to: "account-0", expecting: .noStream)
      try await catalog.register(try Model.model(Self.text()))
      try await engage(catalog, log)
      try await body(log, InlineLog(log), catalog)
    }
  }

  @Test("what an append returns is in the model; a conflict or a retry changes nothing; others are refused")
  func readsItsOwnWrites() async throws {
    let database = try TestDatabase.required
    try await withInline { log, inline, catalog in
      let id = UUID.v7()
      let event = EventData(id: id, type: "deposited", payload: .json("{\"cents\":7}"))
      for _ in 0..<2 {
        let result = try await inline.append([event], to: "account-1", expecting: .noStream)
        #expect(result.version == 1)
        #expect(try await rows(database) == ["account-0 11 2", "account-1 7 1"])
      }
      await #expect(throws: AppendError.self) {
        try await inline.append([Model.deposit(1)], to: "account-1", expecting: .exact(5))
      }
      // The table's rule is the append's.
      let refused = await #expect(throws: AppendError.self) {
        try await inline.append([Model.deposit(-5000)], to: "account-1", expecting: .exact(1))
      }
      guard case .projection(name: "balance", let problem)? = refused else {
        Issue.record("found \(String(describing: refused))")
        return
      }
      #expect(problem.contains("check constraint"))
      let plain = await #expect(throws: AppendError.self) {
        try await log.append([Model.deposit(1)], to: "account-1", expecting: .exact(1))
      }
      #expect("\(try #require(plain))".contains("InlineLog"))
      #expect(try await log.version(of: "account-1") == 1)
      // Other categories are none of its business, but go the same way.
      try await inline.append([EventData(type: "x", payload: .json("{}"))], to: "other-1", expecting: .noStream)
      // An aggregate store takes it as any log.
      try await AggregateStore(inline).update(Purse.self, "1") { _ in [.deposited(cents: 3)] }
      #expect(try await rows(database) == ["account-0 11 2", "account-1 10 2"])
      #expect(try await catalog.lag(of: catalog.build(of: "balance", as: .live)).events == 0)
      try await catalog.wait(for: "balance")
    }
  }

  @Test("eight writers, while it is rebuilt, switched, rolled back, paused and resumed: the model is the log")
  func concurrent() async throws {
    let database = try TestDatabase.required
    try await withInline { log, inline, catalog in
      let second = try Model.model(
        Self.text(
          2, columns: "double bigint", values: ", sum(2 * (data->>'cents')::bigint)",
          update: ", double = b.double + excluded.double"))
      func agrees() async throws -> Bool {
        // One statement: one snapshot of the log and of the model.
        try await database.number(
          """
          SELECT count(*) FROM (
            SELECT s.name, count(*) AS events FROM eventstore.events e JOIN eventstore.streams s USING (stream_id) GROUP BY 1
          ) l FULL JOIN eventstore_views.balance b ON b.account = l.name WHERE l.events IS DISTINCT FROM b.events
          """) == 0
      }
      // A runner all the while: what it does late, of a build that appends apply by now, must fail.
      try await withRunner(log) {
        try await withThrowingTaskGroup(of: Duration.self) { group in
          for writer in 0..<8 {
            group.addTask {
              var slowest = Duration.zero
              while !Task.isCancelled {
                let start = ContinuousClock.now
                let stream = Model.stream((writer + Int.random(in: 0..<3)) % 8)
                do {
                  try await inline.append([Model.deposit(1), Model.deposit(2)], to: stream, expecting: .any)
                } catch AppendError.outcomeUnknown where Task.isCancelled {
                  break
                } catch AppendError.cancelled {
                  break
                }
                slowest = max(slowest, start.duration(to: .now))
              }
              return slowest
            }
          }
          for round in 0..<3 {
            #expect(try await agrees())
            _ = try await catalog.rebuild("balance", with: second, options: quick())
            #expect(try await agrees())
            #expect(try await catalog.compare("balance").tables.filter { !$0.hasSameRows }.isEmpty)
            try await catalog.switchOver("balance")
            #expect(try await agrees())
            #expect(try await catalog.build(of: "balance", as: .live).isEngaged)
            try await catalog.rollback("balance")
            #expect(try await agrees())
            try await catalog.abandon("balance")
            guard round == 1 else { continue }
            try await catalog.pause("balance")
            try await Task.sleep(for: .milliseconds(50))
            try await catalog.resume("balance")
            try await eventually("engaged again") { try await catalog.builds()[0].state == .inline }
          }
          #expect(try await agrees())
          group.cancelAll()
          try await group.waitForAll()
        }
      }
      #expect(try await agrees())
    }
  }

  @Test("let go twice at once: what was appended in between is not passed over")
  func pausedTwice() async throws {
    let database = try TestDatabase.required
    try await withInline { log, inline, catalog in
      for round in 0..<5 {
        try await withThrowingTaskGroup { group in
          for _ in 0..<3 { group.addTask { try await catalog.pause("balance") } }
          group.addTask {
            for number in 0..<10 {
              try await inline.append([Model.deposit(1)], to: Model.stream(100 + number), expecting: .any)
            }
          }
          try await group.waitForAll()
        }
        try await catalog.resume("balance")
        try await engage(catalog, log)
        #expect(
          try await database.number("SELECT sum(events)::bigint FROM eventstore_views.balance") == 2 + 10 * (round + 1))
      }
    }
  }

  @Test("paused, appends go on without it; the server's guard is gone with the last inline projection")
  func paused() async throws {
    let database = try TestDatabase.required
    try await withInline { log, inline, catalog in
      try await catalog.pause("balance")
      try await log.append([Model.deposit(1)], to: "account-9", expecting: .noStream)
      try await inline.append([Model.deposit(1)], to: "account-9", expecting: .exact(1))
      #expect(try await rows(database) == ["account-0 11 2"])
      #expect(
        try await database.number("SELECT count(*) FROM pg_trigger WHERE tgname = 'events_inline' AND tgenabled <> 'D'")
          == 0)
      try await catalog.resume("balance")
      try await engage(catalog, log)
      #expect(try await rows(database) == ["account-0 11 2", "account-9 2 2"])
    }
  }

  @Test("by the roles that are made for it: one runs, another appends, a third reads, none needs to own anything")
  func roles() async throws {
    let database = try TestDatabase.required
    let name = try await database.column("SELECT current_database()::text", as: String.self)[0]
    try await database.sql("GRANT CREATE ON DATABASE \"\(name)\" TO eventstore_projector")
    func asRole<R>(_ role: String, _ body: (PostgreSQLEventLog) async throws -> R) async throws -> R {
      try await database.withLog(
        { $0.connection.connectionString += " options='-c role=\(role)'" }, body)
    }
    try await database.withLog { try await $0.append([Model.deposit(1)], to: "account-1", expecting: .noStream) }
    try await asRole("eventstore_projector") { log in
      let catalog = ProjectionCatalog(log)
      try await catalog.register(try Model.model(Self.text()))
      try await engage(catalog, log)
      _ = try await asRole("eventstore_writer") { writer in
        try await InlineLog(writer).append([Model.deposit(2)], to: "account-1", expecting: .exact(1))
      }
      try await asRole("eventstore_reader") { reader in
        let sum = try await reader.withTransaction { transaction in
          try await transaction.execute(Statement("SELECT cents FROM eventstore_views.balance")).int64(0, 0)
        }
        #expect(sum == 3)
      }
      _ = try await catalog.rebuild("balance", with: try Model.model(Self.text(2)), options: quick())
      #expect(try await catalog.compare("balance").isSame)
      try await catalog.switchOver("balance")
      try await catalog.pause("balance")
      try await catalog.retire("balance")
      await #expect(throws: AppendError.self) {
        try await log.append([Model.deposit(2)], to: "account-1", expecting: .any)
      }
    }
  }

  @Test("in the caller's transaction, with it or not at all; and by a scheduler")
  func inTransaction() async throws {
    struct Undo: Error {}
    let database = try TestDatabase.required
    try await withInline { log, inline, _ in
      let path = Statement("SELECT current_setting('search_path')")
      await #expect(throws: Undo.self) {
        try await log.withTransaction { transaction in
          _ = try await inline.append(
            [StreamAppend([Model.deposit(7)], to: "account-1", expecting: .noStream)], in: transaction)
          throw Undo()
        }
      }
      try await log.withTransaction { transaction in
        let before = try await transaction.execute(path).text(0, 0)
        _ = try await inline.append(
          [StreamAppend([Model.deposit(8)], to: "account-1", expecting: .noStream)], in: transaction)
        #expect(try await transaction.execute(path).text(0, 0) == before)
      }
      // One that cannot be applied leaves nothing, though the transaction goes on; nor does an append of the other kind in it count as
      // applied.
      try await log.withTransaction { transaction in
        await #expect(throws: (any Error).self) {
          try await inline.append(
            [StreamAppend([Model.deposit(-5_000)], to: "account-2", expecting: .noStream)], in: transaction)
        }
        _ = try await inline.append(
          [StreamAppend([Model.deposit(1)], to: "account-3", expecting: .noStream)], in: transaction)
        #expect(try await transaction.execute(path).text(0, 0) == "\"$user\", public")
      }
      let versions = try await (log.version(of: "account-2"), log.version(of: "account-3"))
      #expect(versions.0 == nil && versions.1 == 1)
      await #expect(throws: AppendError.self) {
        try await log.withTransaction { transaction in
          _ = try await inline.append(
            [StreamAppend([Model.deposit(1)], to: "account-3", expecting: .exact(1))], in: transaction)
          try await log.append([Model.deposit(1)], to: "account-3", expecting: .exact(2), in: transaction)
        }
      }
      try await Schedules(log).add(Model.deposit(1), to: "account-1", .at(.now), name: "later")
      var options = Scheduler.Options()
      options.endsWhenNothingIsDue = true
      try await Scheduler(log, options: options).run()
      #expect(try await Schedules(log).status(of: "later").problem?.contains("InlineLog") == true)
      try await database.sql("UPDATE eventstore.schedules SET look_at = now()")
      try await Scheduler(inline, options: options).run()
      #expect(try await rows(database) == ["account-0 11 2", "account-1 9 2", "account-3 1 1"])
    }
  }

  @Test("in Swift code; without that code an append is refused")
  func inCode() async throws {
    struct Counts: Projection {
      let name = "counts"
      let version = 1
      let streamsAreIndependent = true
      let isInline = true
      func createTables(in transaction: borrowing Transaction) async throws {
        try await transaction.execute(Statement("CREATE TABLE counts (stream text PRIMARY KEY, n bigint NOT NULL)"))
      }
      private static let add = Statement(
        "INSERT INTO counts AS c VALUES ($1, 1) ON CONFLICT (stream) DO UPDATE SET n = c.n + 1")
      func apply(_ batch: ProjectionBatch, in transaction: borrowing Transaction) async throws {
        for event in batch.events { try await transaction.execute(Self.add, Parameters(event.stream.description)) }
      }
    }
    let database = try TestDatabase.required
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await withRunner(log, [Counts()]) {
        try await eventually("engaged") { try await catalog.builds().first?.state == .inline }
      }
      try await InlineLog(log, [Counts()]).append([Model.deposit(1)], to: "account-1", expecting: .noStream)
      #expect(try await database.number("SELECT n FROM eventstore_views.counts") == 1)
      let refused = await #expect(throws: AppendError.self) {
        try await InlineLog(log).append([Model.deposit(1)], to: "account-1", expecting: .exact(1))
      }
      guard case .projection(name: "counts", _)? = refused else {
        Issue.record("found \(String(describing: refused))")
        return
      }
      #expect(try await log.version(of: "account-1") == 1)
    }
  }
}
