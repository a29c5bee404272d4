import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Projections
import Replay
import TestSupport
import Testing

/// What inline appends run in: others' transactions, locks, settings, and connections that are lost.
extension InlineTests {
  @Test(
    "a transaction that would not see what was engaged since it began is refused, with nothing written",
    arguments: [IsolationLevel.repeatableRead, .serializable])
  func oneSnapshot(isolation: IsolationLevel) async throws {
    let database = try TestDatabase.required
    try await withInline { log, inline, catalog in
      try await catalog.pause("balance")
      try await catalog.resume("balance")
      try await log.withTransaction(isolation: isolation) { transaction in
        // Its snapshot is from before the build is engaged again.
        try await transaction.execute(Statement("SELECT 1"))
        try await engage(catalog, log)
        let error = await #expect(throws: AppendError.self) {
          try await inline.append(
            [StreamAppend([Model.deposit(1)], to: "account-1", expecting: .noStream)], in: transaction)
        }
        #expect(error.map { "\($0)".contains("READ COMMITTED") } == true)
      }
      #expect(try await log.version(of: "account-1") == nil)
      #expect(try await rows(database) == ["account-0 11 2"])
    }
  }

  @Test("READ UNCOMMITTED is READ COMMITTED to PostgreSQL, and here")
  func readUncommitted() async throws {
    let database = try TestDatabase.required
    try await withInline { log, inline, _ in
      try await log.withTransaction { transaction in
        try await transaction.execute(Statement("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"))
        _ = try await inline.append(
          [StreamAppend([Model.deposit(1)], to: "account-1", expecting: .noStream)], in: transaction)
      }
      #expect(try await rows(database) == ["account-0 11 2", "account-1 1 1"])
    }
  }

  @Test("a wait for a synchronous standby that was given up is not told as an append that is safe")
  func unconfirmed() async throws {
    try await IsolatedServer.with { server in
      try await withInline(in: server.database, statementTimeout: .seconds(2)) { log, inline, _ in
        try await server.waitForStandby("nobody")
        do throws(AppendError) {
          _ = try await inline.append([Model.deposit(1)], to: "account-1", expecting: .noStream)
          Issue.record("told as safe")
        } catch {
          if case .outcomeUnknown(let reason) = error { #expect(reason.code == .unconfirmed) } else { throw error }
        }
        try await server.waitForStandby(nil)
        #expect(try await log.version(of: "account-1") == 1)
        #expect(try await rows(server.database) == ["account-0 11 2", "account-1 1 1"])
      }
    }
  }

  @Test("appends that wait for a lock on the model's table do not keep a pause away, and then go on")
  func locked() async throws {
    let database = try TestDatabase.required
    try await withInline { log, inline, catalog in
      let table = "\(try await catalog.builds()[0].tableSchema(of: "eventstore")).balance"
      try await database.withConnection { holder in
        try await holder.script("BEGIN; LOCK TABLE \(table) IN ACCESS EXCLUSIVE MODE")
        try await withThrowingTaskGroup { group in
          for number in 1...4 {
            group.addTask {
              let result = try await inline.append([Model.deposit(1)], to: Model.stream(number), expecting: .noStream)
              #expect(result.version == 1)
            }
          }
          try await eventually("appends wait") {
            try await database.number(
              "SELECT count(*) FROM pg_locks WHERE relation = '\(table)'::regclass AND NOT granted") > 0
          }
          do {
            try await catalog.pause("balance")
          } catch {
            // Else they would wait for ever.
            try await holder.script("ROLLBACK")
            throw error
          }
          try await group.waitForAll()
        }
        try await holder.script("COMMIT")
      }
      try await catalog.resume("balance")
      try await engage(catalog, log)
      #expect(try await rows(database) == ["account-0 11 2"] + (1...4).map { "account-\($0) 1 1" })
    }
  }

  @Test("payloads stay out of the server's log where the role may say so; the caller's own settings come back")
  func quiet() async throws {
    let database = try TestDatabase.required
    let settings = "log_min_messages log_min_error_statement log_parameter_max_length log_parameter_max_length_on_error"
      .split(separator: " ").map { "current_setting('\($0)')" }.joined(separator: " || ' ' || ")
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      let text = Model.text(columns: "settings text", values: ", \(settings)", head: "-- mode: inline")
      try await catalog.register(try Model.model(text))
      try await engage(catalog, log)
      try await log.withTransaction { transaction in
        let query = Statement("SELECT \(settings)")
        let before = try await transaction.execute(query).text(0, 0)
        _ = try await InlineLog(log).append(
          [StreamAppend([Model.deposit(1)], to: "account-1", expecting: .noStream)], in: transaction)
        #expect(try await transaction.execute(query).text(0, 0) == before)
      }
      // One that may not goes on without.
      try await database.withLog({ $0.connection.connectionString += " options='-c role=eventstore_writer'" }) {
        writer in
        try await InlineLog(writer).append([Model.deposit(2)], to: "account-2", expecting: .noStream)
      }
    }
    let seen = try await database.column(
      "SELECT settings FROM eventstore_views.balance ORDER BY account", as: String.self)
    #expect(seen.first == "panic panic 0 0")
    #expect(seen.last?.hasSuffix(" 0") == true && seen.count == 2)
  }

  @Test("the same rows by the log, in an append and in a replay, whatever the database says of how values look")
  func looks() async throws {
    let database = try TestDatabase.required
    let name = try await database.column("SELECT current_database()::text", as: String.self)[0]
    for setting in [
      "DateStyle TO 'SQL, DMY'", "IntervalStyle TO 'iso_8601'", "extra_float_digits TO 0", "bytea_output TO 'escape'",
      "TimeZone TO 'Asia/Kolkata'",
    ] { try await database.sql("ALTER DATABASE \(name) SET \(setting)") }
    let value =
      "concat_ws(' ', '02/03/2026'::date, to_timestamp(0), '1 day 2 hours'::interval, 0.1::float8 + 0.2::float8, 'a'::bytea)"
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      let model = try Model.model(
        Model.text(columns: "looks text", values: ", \(value)", head: "-- mode: inline"))
      try await log.append([Model.deposit(1)], to: "account-1", expecting: .noStream)
      try await catalog.register(model)
      try await engage(catalog, log)
      try await log.withTransaction { transaction in
        _ = try await InlineLog(log).append(
          [StreamAppend([Model.deposit(1)], to: "account-2", expecting: .noStream)], in: transaction)
        let style = try await transaction.execute(Statement("SELECT current_setting('DateStyle')")).text(0, 0)
        #expect(style == "SQL, DMY")
      }
      let replayed = try await model.withFold(of: .all(until: nil), in: log) { try await $0.rows().map(\.json) }
      #expect(replayed.count == 2 && replayed.allSatisfy { $0.contains("2026-02-03 1970-01-01 00:00:00+00 1 day 02") })
      let seen = try await database.column(
        "SELECT DISTINCT looks FROM eventstore_views.balance", as: String.self)
      #expect(seen == [#"2026-02-03 1970-01-01 00:00:00+00 1 day 02:00:00 0.30000000000000004 \x61"#])
    }
  }

  @Test("a statement takes no longer than an append may wait")
  func slow() async throws {
    try await TestDatabase.required.withLog({ $0.appendPatience = .milliseconds(500) }) { log in
      let catalog = ProjectionCatalog(log)
      let text = Model.text(
        columns: "nap text", values: ", CASE WHEN max(version) > 1 THEN pg_sleep(5)::text END", head: "-- mode: inline")
      try await catalog.register(try Model.model(text))
      try await engage(catalog, log)
      try await InlineLog(log).append([Model.deposit(1)], to: "account-1", expecting: .noStream)
      let error = await #expect(throws: AppendError.self) {
        try await InlineLog(log).append([Model.deposit(1)], to: "account-1", expecting: .exact(1))
      }
      #expect(error.map { "\($0)".contains("longer than the 0.5 seconds") } == true)
      #expect(try await log.version(of: "account-1") == 1)
      #expect(try await rows(TestDatabase.required) == ["account-1 1 1"])
      // The caller's own are as they were.
      try await log.withTransaction { transaction in
        let settings = Statement("SELECT current_setting('lock_timeout') || current_setting('statement_timeout')")
        let before = try await transaction.execute(settings).text(0, 0)
        _ = try await InlineLog(log).append(
          [StreamAppend([Model.deposit(1)], to: "account-2", expecting: .noStream)], in: transaction)
        #expect(try await transaction.execute(settings).text(0, 0) == before)
      }
    }
  }

  @Test("a COMMIT whose answer was lost leaves the outcome unknown, whatever fails afterwards")
  func lostCommit() async throws {
    let database = try TestDatabase.required
    try await withInline { log, inline, catalog in
      let tables = try await catalog.builds()[0].tableSchema(of: "eventstore")
      try await database.sql(
        """
        CREATE SEQUENCE public.tries;
        CREATE FUNCTION public.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF nextval('public.tries') = 1 THEN PERFORM pg_sleep(60); END IF;
          RAISE EXCEPTION 'not this time';
        END $$;
        CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT OR UPDATE ON \(tables).balance
          DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.at_commit();
        """)
      let append = Task { try await inline.append([Model.deposit(1)], to: "account-1", expecting: .noStream) }
      try await eventually("commits") {
        try await database.number(
          """
          SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
           WHERE datname = current_database() AND wait_event = 'PgSleep'
          """) == 1
      }
      let error = await #expect(throws: AppendError.self) { try await append.value }
      guard case .outcomeUnknown? = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(try await log.version(of: "account-1") == nil)
    }
  }
}
