import EventStore
import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@testable import Replay

@Suite("Folding into a read model", .database, .timeLimit(.minutes(15)))
struct FoldTests {
  func rows(
    _ text: String, _ scope: ReplayScope, _ log: PostgreSQLEventLog, workers: Int? = nil
  ) async throws -> [String] {
    try await ReadModel(text, file: "f.sql").withFold(of: scope, in: log, workers: workers) { fold in
      try await fold.rows().map(\.json)
    }
  }

  /// What is in the database beside the log: nothing that a replay may change.
  func fingerprint(_ database: TestDatabase) async throws -> [String] {
    try await database.column(
      """
      SELECT n.nspname || '.' || c.relname || ' ' || c.relkind::text FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname NOT LIKE 'pg\\_%'
      UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_t%'
      UNION ALL SELECT proname::text FROM pg_proc WHERE oid > 16384
      UNION ALL SELECT 'events ' || count(*) FROM eventstore.events
      ORDER BY 1
      """, as: String.self)
  }

  @Test("decimals, any version, any time, whatever the pages; and the database is as it was")
  func oneStream() async throws {
    let database = try TestDatabase.required
    try await database.withLog({ $0.pageSize = 7 }) { log in
      let amounts = (1...15).map { "\($0).\($0 % 10)0" }
      let events = amounts.enumerated().map {
        $0 % 3 == 2
          ? Samples.withdrawal($1, at: Double($0) * 86_400) : Samples.deposit($1, at: Double($0) * 86_400)
      }
      try await log.append(events, to: "account-1", expecting: .noStream)
      let before = try await fingerprint(database)
      var balance = Decimal(0)
      for version in 1...15 {
        balance += (version % 3 == 0 ? -1 : 1) * (Decimal(string: amounts[version - 1]) ?? .nan)
        let latest = version % 3 == 0 ? "withdrawn" : "deposited"
        let moments: [Moment] = [.version(version), .time(Date(timeIntervalSince1970: Double(version) * 86_400 - 1))]
        for moment in moments {
          let found = try await rows(Samples.balance(), .stream("account-1", moment), log)
          #expect(found.count == 1 && found[0].contains("\"balance\":\(balance)"), "\(found), expected \(balance)")
          #expect(found[0].contains("\"latest\":\"\(latest)\""))
        }
      }
      #expect(try await fingerprint(database) == before)
    }
  }

  @Test("what an author writes in a string stays as it is, also what stands for the schema elsewhere")
  func literals() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append([Samples.deposit("1")], to: "account-1", expecting: .noStream)
      let handler = "-- on: deposited\nINSERT INTO balance SELECT stream, 1, ':\"schema\"' FROM events;"
      let found = try await rows(Samples.balance(handler: handler), .all(until: nil), log)
      #expect(found.count == 1 && found[0].contains(":\\\"schema\\\""), "\(found)")
    }
  }

  @Test("one statement for every type of a category")
  func others() async throws {
    let text = """
      -- read model: counts
      -- version: 1
      -- categories: account
      CREATE TABLE counts (type text PRIMARY KEY, n bigint NOT NULL, special boolean NOT NULL);
      -- on: deposited
      INSERT INTO counts AS c SELECT type, count(*), true FROM events GROUP BY type
      ON CONFLICT (type) DO UPDATE SET n = c.n + excluded.n;
      -- on: others
      INSERT INTO counts AS c SELECT type, count(*), false FROM events GROUP BY type
      ON CONFLICT (type) DO UPDATE SET n = c.n + excluded.n;
      -- ignore: noise
      """
    try await TestDatabase.required.withLog { log in
      for type in ["opened", "deposited", "noise", "opened", "closed"] {
        try await log.append([EventData(type: type, payload: .json("{}"))], to: "account-1", expecting: .any)
      }
      try await log.append([EventData(type: "opened", payload: .json("{}"))], to: "else-1", expecting: .any)
      let found = try await rows(text, .all(until: nil), log)
      #expect(
        found == [
          "{\"type\":\"closed\",\"n\":1,\"special\":false}", "{\"type\":\"deposited\",\"n\":1,\"special\":true}",
          "{\"type\":\"opened\",\"n\":2,\"special\":false}",
        ])
    }
    #expect(throws: ReadModelError.self) { try ReadModel(text + "\n-- ignore: others\n", file: "counts.sql") }
  }

  @Test("the whole log, in parallel and in order, gives the same bytes, twice", arguments: 1...2 as ClosedRange<UInt64>)
  func wholeLog(seed: UInt64) async throws {
    try await TestDatabase.required.withLog({ $0.pageSize = 100 }) { log in
      var random = SeededNumbers(seed: seed)
      var versions: [Int: Int] = [:]
      var sums: [Int: Decimal] = [:]
      for _ in 0..<200 {
        let account = Int.random(in: 0..<40, using: &random)
        let cents = Int.random(in: -99_999...99_999, using: &random)
        let amount = "\(abs(cents) / 100).\(abs(cents) % 100 < 10 ? "0" : "")\(abs(cents) % 100)"
        try await log.append(
          [cents < 0 ? Samples.withdrawal(amount) : Samples.deposit(amount)],
          to: StreamName(category: "account", id: "\(account)"), expecting: .exact(versions[account, default: 0]))
        versions[account, default: 0] += 1
        sums[account, default: 0] += Decimal(cents) / 100
      }
      try await log.append([EventData(type: "other", payload: .json("{}"))], to: "else-1", expecting: .noStream)
      let ordered = try await rows(Samples.balance(streams: "ordered"), .all(until: nil), log)
      #expect(ordered.count == versions.count)
      for (account, sum) in sums {
        let row = try #require(ordered.first { $0.contains("\"account-\(account)\"") })
        let number = row.split(separator: "\"balance\":")[1].prefix { $0 != "," }
        #expect(Decimal(string: String(number)) == sum)
      }
      for workers in [1, 2, 5] {
        for scope in [ReplayScope.all(until: nil), .categories(["account"], until: nil)] {
          let parallel = try await rows(Samples.balance(), scope, log, workers: workers)
          #expect(parallel == ordered)
        }
      }
    }
  }

  @Test("streams that are declared independent, and are not, are found out")
  func notIndependent() async throws {
    try await TestDatabase.required.withLog { log in
      for id in 0..<40 {
        try await log.append(
          [Samples.deposit("1")], to: StreamName(category: "account", id: "\(id)"), expecting: .noStream)
      }
      let total = """
        -- on: deposited
        INSERT INTO balance AS b (account, balance) SELECT 'all', count(*) FROM events
            ON CONFLICT (account) DO UPDATE SET balance = b.balance + excluded.balance;
        """
      let ordered = try await rows(Samples.balance(streams: "ordered", handler: total), .all(until: nil), log)
      #expect(ordered == [#"{"account":"all","balance":40,"latest":null}"#])
      await #expect {
        try await rows(Samples.balance(handler: total), .all(until: nil), log, workers: 3)
      } throws: { error in
        (error as? ReadModelError)?.problem.contains("does not hold") == true
      }
    }
  }

  @Test("by time: only what had happened")
  func untilTime() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append(
        [Samples.deposit("1", at: 100), Samples.deposit("2", at: 200)], to: "account-1", expecting: .noStream)
      try await log.append([Samples.deposit("4", at: 150)], to: "account-2", expecting: .noStream)
      let found = try await rows(Samples.balance(), .all(until: Date(timeIntervalSince1970: 150)), log)
      #expect(found.count == 2 && found[0].contains("\"balance\":1,") && found[1].contains("\"balance\":4,"))
    }
  }

  @Test("every column of `events`, one event at a time, deletes, and a table without a key")
  func columns() async throws {
    try await TestDatabase.required.withLog({ $0.plaintextCategories = ["plain"] }) { log in
      let text = """
        -- read model: everything
        -- version: 1
        CREATE TABLE seen (line text);
        -- on each: deposited
        INSERT INTO seen SELECT concat_ws('|', stream, category, aggregate_id, version, type, schema_version, time, data,
               bytes, metadata->>'by', redacted, position > 0, length(id::text), recorded_at > '2020-01-01') FROM events;
        -- on: bytes
        INSERT INTO seen SELECT encode(bytes, 'escape') || coalesce(data::text, '-') FROM events;
        -- on: gone
        DELETE FROM seen WHERE line LIKE 'x%' AND EXISTS (SELECT FROM events);
        """
      try await log.append(
        [
          EventData(
            type: "deposited", schemaVersion: 3, payload: .json("{\"a\": [1, 2.50]}"),
            metadata: Metadata(["by": "Ada"]),
            occurredAt: Date(timeIntervalSince1970: 0)),
          EventData(type: "bytes", payload: Payload(bytes: Array("x\\y".utf8))),
        ], to: "plain-a-b", expecting: .noStream)
      let expected =
        #"{"line":"plain-a-b|plain|a-b|1|deposited|3|1970-01-01 00:00:00+00|{\"a\": [1, 2.50]}|Ada|f|t|36|t"}"#
      let both = try await rows(text, .all(until: nil), log)
      #expect(both == [expected, #"{"line":"x\\\\y-"}"#])
      try await log.append([EventData(type: "gone", payload: .json("{}"))], to: "plain-a-b", expecting: .exact(2))
      let one = try await rows(text, .all(until: nil), log)
      #expect(one == [expected])
    }
  }

  @Test("a shredded payload is redacted; one that cannot be opened stops the fold")
  func unreadable() async throws {
    let database = try TestDatabase.required
    let text = """
      -- read model: all_of_it
      -- version: 1
      CREATE TABLE seen (version bigint PRIMARY KEY, redacted boolean, data jsonb);
      -- on: deposited
      INSERT INTO seen SELECT version, redacted, data FROM events;
      """
    try await database.withLog { log in
      var events = [Samples.deposit("1"), Samples.deposit("2")]
      events[1].subject = "customer-7"
      try await log.append(events, to: "account-1", expecting: .noStream)
    }
    try await database.sql(
      "UPDATE eventstore.data_keys SET wrapped_key = NULL, shredded_at = now() WHERE subject = 'customer-7'")
    try await database.withLog { log in
      let found = try await rows(text, .stream("account-1", .latest), log)
      #expect(
        found == [
          #"{"version":1,"redacted":false,"data":{"amount": "1"}}"#, #"{"version":2,"redacted":true,"data":null}"#,
        ])
    }
    var stranger = database.configuration
    stranger.encryption = .off
    try await PostgreSQLEventLog.withLog(stranger) { log in
      await #expect {
        try await rows(text, .stream("account-1", .latest), log)
      } throws: {
        if case AggregateError.event("account-1", version: 1, .payload(.masterKeyMissing)) = $0 { true } else { false }
      }
    }
  }

  // MARK: What is refused

  struct Refusal: Sendable, CustomTestStringConvertible {
    var table = Samples.table
    var handler = Samples.handler
    let reason: ReadModelError.Reason
    let says: String
    var line: Int?
    var testDescription: String { says }
  }

  @Test(
    "what PostgreSQL refuses, and what touches other tables, is said with its line, and changes nothing",
    arguments: [
      Refusal(table: "CREATE TABLE balance (account txt);", reason: .file, says: "\"txt\" does not exist", line: 5),
      Refusal(table: "CREATE TABLE (x int);", reason: .file, says: "syntax error", line: 5),
      Refusal(
        table: "CREATE TABLE public.other (x int);\n\(Samples.table)", reason: .foreignTable,
        says: "a name with a schema", line: 5),
      Refusal(
        table: "CREATE TABLE balance AS SELECT setval('eventstore.events_position_seq', 1);", reason: .file,
        says: "AS is not for"),
      Refusal(
        table: "CREATE INDEX ON eventstore.events (recorded_at);", reason: .foreignTable, says: "a name with a schema"),
      Refusal(
        table: "CREATE TABLE balance (account text) INHERITS (eventstore.streams);", reason: .file,
        says: "INHERITS is not for"),
      Refusal(
        handler:
          "-- on: deposited\nINSERT INTO balance SELECT stream, length(to_tsquery('(' || (data->>'amount'))::text) FROM events;",
        reason: .apply, says: "SQLSTATE 42601"),
      Refusal(
        table: "CREATE TABLE balance (account text PRIMARY KEY REFERENCES eventstore.streams (name), balance numeric);",
        reason: .file, says: "temporary tables"),
      Refusal(
        handler: "-- on: deposited\nINSERT INTO balance\nSELECT strem, 1 FROM events;", reason: .file,
        says: "\"strem\" does not exist", line: 8),
      Refusal(
        handler: "-- on: deposited\nINSERT INTO balance\nSELECT stream,\n\nx\n\nFROM events;", reason: .file,
        says: "\"x\" does not exist", line: 10),
      Refusal(
        handler: "-- on: deposited\nINSERT INTO\nSELCT FROM events;", reason: .file, says: "syntax error", line: 8),
      Refusal(
        handler: "-- on: deposited\nINSERT INTO nothing SELECT stream FROM events;", reason: .file,
        says: "sees its own tables and `events`", line: 7),
      Refusal(
        handler: "-- on: deposited\nINSERT INTO balance SELECT s.name, 1 FROM events, eventstore.streams s;",
        reason: .foreignTable, says: "eventstore.streams", line: 7),
      Refusal(
        handler: "-- on: deposited\nDELETE FROM eventstore.data_keys WHERE EXISTS (SELECT FROM events);",
        reason: .foreignTable, says: "eventstore.data_keys", line: 7),
      Refusal(
        handler:
          "-- on: deposited\nINSERT INTO balance SELECT stream, nextval('eventstore.stream_numbers') FROM events;",
        reason: .foreignTable, says: "nextval()"),
      Refusal(
        handler:
          "-- on: deposited\nINSERT INTO balance SELECT DISTINCT stream, public.peek() FROM events;",
        reason: .foreignTable, says: "eventstore.streams"),
      Refusal(
        handler: "-- on: deposited\nINSERT INTO balance SELECT stream, (data->>'nothing')::numeric FROM events;",
        reason: .apply, says: "null value in column \"balance\"", line: 7),
      Refusal(
        handler: "-- on: deposited\nINSERT INTO balance SELECT stream, (data->>'amount')::boolean::int FROM events;",
        reason: .apply, says: "does not fit the data"),
      Refusal(
        handler: """
          -- on: deposited
          INSERT INTO balance SELECT stream, 1 FROM events
              ON CONFLICT (account) DO UPDATE SET balance = 2;
          """, reason: .apply, says: "GROUP BY the row's key"),
      Refusal(
        handler: "-- on: withdrawn\nINSERT INTO balance SELECT stream, 1 FROM events;", reason: .unhandledType,
        says: "no statement for event type \"deposited\""),
    ])
  func refusals(refusal: Refusal) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append(
        [Samples.deposit("12.5"), Samples.deposit("7")], to: "account-1", expecting: .noStream)
      try await database.sql(
        """
        CREATE FUNCTION public.peek() RETURNS bigint LANGUAGE plpgsql AS
        'BEGIN RETURN (SELECT count(*) FROM eventstore.streams); END'
        """)
      let before = try await fingerprint(database)
      let text = "\(Samples.head)\n-- streams: independent\n\(refusal.table)\n\(refusal.handler)\n"
      for scope in [ReplayScope.stream("account-1", .latest), .all(until: nil)] {
        do {
          _ = try await rows(text, scope, log)
          Issue.record("expected a refusal")
        } catch let error as ReadModelError {
          #expect(error.reason == refusal.reason, "\(error)")
          #expect(error.problem.contains(refusal.says), "\(error)")
          if let line = refusal.line { #expect(error.line == line, "\(error)") }
          #expect(!error.description.contains("12.5"))
        }
      }
      #expect(try await fingerprint(database) == before)
      #expect(try await log.version(of: "account-1") == 2)
    }
  }
}
