import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Scheduled appends", .database, .timeLimit(.minutes(15)))
struct ScheduleTests {
  private func event(_ text: String, id: UUID = .v7(), metadata: Metadata = Metadata()) -> EventData {
    EventData(id: id, type: "reminded", payload: .json("{\"text\":\"\(text)\"}"), metadata: metadata)
  }

  private final class Told: Sendable {
    private let appends = Mutex<[Scheduler.ScheduledAppend]>([])
    var all: [Scheduler.ScheduledAppend] { appends.withLock { $0 } }
    func add(_ append: Scheduler.ScheduledAppend) { appends.withLock { $0.append(append) } }
  }

  /// Appends what is due, with one scheduler.
  private func runOnce(_ log: PostgreSQLEventLog) async throws {
    var options = Scheduler.Options()
    options.endsWhenNothingIsDue = true
    try await Scheduler(log, options: options).run()
  }

  private func all(_ log: PostgreSQLEventLog) async throws -> [RecordedEvent] {
    try await log.readAll(after: .start, where: LogFilter()).collect()
  }

  @Test("once, at its time: sealed until then, its metadata say where it comes from, its schedule is gone")
  func once() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let schedules = Schedules(log)
      let id = UUID.v7()
      let event = event("walrus", id: id, metadata: Metadata(correlationID: "c-1", traceparent: "00-1"))
      let made = try await schedules.add(event, to: "order-1", .at(.now.addingTimeInterval(3600)), name: "wait")
      #expect(made.name == "wait" && made.stream == "order-1" && made.eventID == id && made.recurrence == nil)
      // Nowhere in the clear.
      let clear = try await database.number(
        "SELECT count(*) FROM eventstore.schedules s WHERE position('walrus' in s::text) > 0 OR position('walrus'::bytea in s.data) > 0"
      )
      #expect(clear == 0)
      try await runOnce(log)
      #expect(try await all(log).isEmpty)
      // An hour later.
      try await database.sql(
        "UPDATE eventstore.schedules SET due_at = clock_timestamp() + '0.2 s', look_at = clock_timestamp() + '0.2 s'")
      let status = try await schedules.status(of: "wait")
      let scheduler = Task { try await Scheduler(log).run() }
      try await eventually("appended") { try await log.version(of: "order-1") == 1 }
      scheduler.cancel()
      try await scheduler.value
      let recorded = try #require(try await all(log).first)
      #expect(recorded.id == id && recorded.type == "reminded" && recorded.recordedAt >= status.dueAt)
      #expect(try recorded.payload.get() == event.payload)
      #expect(recorded.metadata["schedule"] == "wait" && recorded.metadata.correlationID == "c-1")
      #expect(recorded.metadata.traceparent == "00-1")
      #expect(
        recorded.metadata["scheduledFor"]
          == status.dueAt.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
      await #expect(throws: OutboxError.scheduleNotFound(name: "wait")) { try await schedules.status(of: "wait") }
      // The same again, as after a lost answer: it is due at once, and was there already.
      try await schedules.add(event, to: "order-1", .at(status.dueAt), name: "wait")
      try await runOnce(log)
      #expect(try await all(log).count == 1)
      #expect(try await schedules.all().isEmpty)
    }
  }

  @Test("several schedulers, whose connections are cut: each occurrence exactly once, in order")
  func exactlyOnce() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let schedules = Schedules(log)
      try await log.withTransaction { transaction in
        for number in 0..<400 {
          try await schedules.add(
            event("\(number)"), to: try StreamName("order-\(number % 40)"),
            .at(.now.addingTimeInterval(Double(number % 3) * 0.2)), name: "once-\(number)", in: transaction)
        }
        for number in 0..<8 {
          try await schedules.add(
            event("again"), to: try StreamName("report-\(number)"), .cron(try CronExpression("* * * * *")),
            name: "again-\(number)", in: transaction)
        }
      }
      // As if nobody had been there for 150 minutes.
      try await database.sql(
        "UPDATE eventstore.schedules SET due_at = due_at - interval '150 min', look_at = look_at - interval '150 min' WHERE cron IS NOT NULL"
      )
      let starts = try await schedules.all().filter { $0.recurrence != nil }
      let first = try #require(starts.first).dueAt
      let told = Told()
      var others: [PostgreSQLEventLog] = []
      for _ in 0..<4 { others.append(try await PostgreSQLEventLog.open(database.configuration)) }
      let cuts = Task {
        while !Task.isCancelled {
          try? await database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.3"
          )
          try? await Task.sleep(for: .milliseconds(60))
        }
      }
      let tasks = others.map { other in
        Task {
          var options = Scheduler.Options()
          options.onAppend = { told.add($0) }
          try await Scheduler(other, options: options).run()
        }
      }
      try await eventually("all of them", within: .seconds(120)) {
        let left = try? await database.number(
          "SELECT count(*) FROM eventstore.schedules WHERE cron IS NULL OR due_at < clock_timestamp()")
        return left == 0
      }
      cuts.cancel()
      await cuts.value
      for task in tasks { task.cancel() }
      for task in tasks { try await task.value }
      for other in others { await other.close() }
      // The connections of this log may have been cut, too.
      let events = try await database.withLog { try await all($0) }
      let once = events.filter { $0.stream.category == "order" }.compactMap { $0.metadata["schedule"] }
      #expect(once.count == 400 && Set(once).count == 400)
      for number in 0..<8 {
        let times = events.filter { $0.stream.description == "report-\(number)" }.compactMap {
          $0.metadata["scheduledFor"]
        }
        #expect(times.count >= 150)
        for (index, time) in times.enumerated() {
          let expected = first.addingTimeInterval(60 * Double(index))
          #expect(time == expected.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
        }
      }
      #expect(Set(events.map(\.id)).count == events.count)
      // Who was told of an append was told the truth; of some, whose commit was not answered, nobody was.
      let positions = Set(events.map(\.position))
      #expect(told.all.allSatisfy { positions.contains($0.position) })
      #expect(told.all.count > 100)
    }
  }

  @Test("one event for all that were missed; no occurrence after the end")
  func missed() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let schedules = Schedules(log)
      // So that no occurrence comes while the test runs.
      let yearly = try CronExpression("@yearly")
      try await schedules.add(event("a"), to: "one-1", .cron(yearly, missed: .one), name: "one")
      try await schedules.add(event("b"), to: "each-1", .cron(yearly), name: "each")
      let end = try await schedules.status(of: "each").dueAt
      try await schedules.add(event("c"), to: "end-1", .cron(yearly, until: end), name: "end")
      try await database.sql(
        "UPDATE eventstore.schedules SET due_at = due_at - interval '24 years', look_at = look_at - interval '24 years'"
      )
      try await runOnce(log)
      let counts = try await (log.version(of: "one-1"), log.version(of: "each-1"), log.version(of: "end-1"))
      #expect(counts.0 == 1 && counts.1 == 24 && counts.2 == 24)
      let one = try await schedules.status(of: "one")
      #expect(one.dueAt == end && one.occurrences == 1)
      let first = try await database.number(
        "SELECT count(*) FROM eventstore.schedules WHERE name = 'one' AND last_at = due_at - interval '24 years'")
      #expect(first == 1)
      // Its last occurrence.
      try await database.sql("UPDATE eventstore.schedules SET look_at = now(), due_at = ends_at WHERE name = 'end'")
      try await runOnce(log)
      #expect(try await log.version(of: "end-1") == 25)
      #expect(try await schedules.all().map(\.name).sorted() == ["each", "one"])
    }
  }

  @Test("what cannot be appended is put off and says why; others do not wait for it; then it is made up for")
  func failing() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let schedules = Schedules(log)
      try await schedules.add(
        EventData(type: "reminded", payload: .json("{}"), subject: "gone"), to: "a-1", .at(.now), name: "shredded")
      // Its id is taken, by something else.
      let id = UUID.v7()
      try await log.append([event("other", id: id)], to: "b-1", expecting: .any)
      try await schedules.add(event("mine", id: id), to: "b-1", .at(.now), name: "taken")
      // The server refuses it, in words that sound as if that would pass.
      try await database.sql(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN RAISE EXCEPTION 'no % today', NEW.type USING ERRCODE = '55P03'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON eventstore.events FOR EACH ROW WHEN (NEW.type = 'locked') EXECUTE FUNCTION refuse()
        """)
      try await schedules.add(EventData(type: "locked", payload: .json("{}")), to: "c-1", .at(.now), name: "locked")
      try await schedules.add(event("fine"), to: "b-1", .at(.now), name: "fine")
      try await schedules.add(
        EventData(type: "reminded", payload: .json("{}"), subject: "customer-7"), to: "d-1", .at(.now), name: "stolen")
      try await database.sql(
        """
        UPDATE eventstore.schedules SET subject = 'customer-8' WHERE name = 'stolen';
        CREATE TABLE backup AS SELECT key_id, wrapped_key FROM eventstore.data_keys WHERE subject = 'gone';
        UPDATE eventstore.data_keys SET wrapped_key = NULL, shredded_at = now() WHERE subject = 'gone'
        """)
      try await runOnce(log)
      #expect(try await log.version(of: "b-1") == 2)
      let left = try await schedules.all()
      #expect(left.map(\.name).sorted() == ["locked", "shredded", "stolen", "taken"])
      let words = [
        "locked": "SQLSTATE 55P03", "shredded": "shredded", "stolen": "altered", "taken": "already in stream",
      ]
      for status in left {
        #expect(status.attempts == 1)
        #expect(status.problem?.contains(words[status.name] ?? "?") == true, "\(status)")
      }
      // Mended.
      try await database.sql(
        """
        UPDATE eventstore.data_keys d SET wrapped_key = b.wrapped_key, shredded_at = NULL FROM backup b WHERE d.key_id = b.key_id;
        UPDATE eventstore.schedules SET look_at = now()
        """)
      try await runOnce(log)
      let events = try await log.read("a-1").collect()
      #expect(events.map { $0.metadata["schedule"] } == ["shredded"])
      #expect(try await schedules.status(of: "taken").attempts == 2)
      try await schedules.cancel("taken")
      await #expect(throws: OutboxError.scheduleNotFound(name: "taken")) { try await schedules.cancel("taken") }
    }
  }

  @Test("what was put off by one scheduler and appended by another meanwhile does not come before its time")
  func overtaken() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let schedules = Schedules(log)
      try await schedules.add(event("x"), to: "a-1", .cron(try CronExpression("@yearly")), name: "yearly")
      let before = try await schedules.status(of: "yearly")
      try await database.sql(
        "UPDATE eventstore.schedules SET due_at = due_at - interval '1 year', look_at = due_at - interval '1 year'")
      // As it appends it, at the last moment, the occurrence is put off by someone whose try has failed before.
      try await database.sql(
        """
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN PERFORM pg_notify('appending', ''); PERFORM pg_sleep(0.3); RETURN NEW; END $$;
        CREATE TRIGGER slow BEFORE INSERT ON eventstore.events FOR EACH ROW EXECUTE FUNCTION slow()
        """)
      async let run: Void = runOnce(log)
      try await eventually("it is appended just now") {
        try await database.number(
          "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'") == 1
      }
      try await database.withConnection { connection in
        let query = try postponing()
        try await connection.execute(
          Statement(query), Parameters("yearly", "late", before.eventID, before.dueAt.addingTimeInterval(-365 * 86_400))
        )
      }
      try await run
      let after = try await schedules.status(of: "yearly")
      #expect(after.dueAt == before.dueAt && after.attempts == 0 && after.occurrences == 1)
      try await runOnce(log)
      #expect(try await log.version(of: "a-1") == 1)
    }
  }

  /// The statement with which a scheduler puts an occurrence off.
  private func postponing() throws -> String {
    let file = #filePath.replacing(
      "Tests/OutboxTests/ScheduleTests.swift", with: "schema/queries/postpone_schedule.sql")
    let text = try String(contentsOf: URL(filePath: file), encoding: .utf8)
    return text.replacing(":\"schema\"", with: "eventstore")
  }

  @Test("in the caller's transaction: with it, or not at all")
  func transactional() async throws {
    struct Undo: Error {}
    try await TestDatabase.required.withLog { log in
      let schedules = Schedules(log)
      await #expect(throws: Undo.self) {
        try await log.withTransaction { transaction in
          try await schedules.add(event("x"), to: "a-1", .at(.now), in: transaction)
          throw Undo()
        }
      }
      #expect(try await schedules.all().isEmpty)
      try await log.withTransaction { transaction in
        try await schedules.add(event("x"), to: "a-1", .at(.now), name: "with", in: transaction)
        try await log.append([event("y")], to: "a-1", expecting: .noStream, in: transaction)
      }
      try await runOnce(log)
      #expect(try await log.version(of: "a-1") == 2)
    }
  }

  @Test("the same again changes nothing; another of the same name is refused")
  func again() async throws {
    try await TestDatabase.required.withLog { log in
      let schedules = Schedules(log)
      let (event, later) = (event("x"), Date.now.addingTimeInterval(3600))
      let first = try await schedules.add(event, to: "a-1", .at(later), name: "n")
      #expect(try await schedules.add(event, to: "a-1", .at(later), name: "n") == first)
      var other = event
      other.payload = .json("{}")
      let refused = OutboxError.scheduleExists(name: "n")
      await #expect(throws: refused) { try await schedules.add(other, to: "a-1", .at(later), name: "n") }
      await #expect(throws: refused) { try await schedules.add(event, to: "a-2", .at(later), name: "n") }
      await #expect(throws: refused) {
        try await schedules.add(event, to: "a-1", .at(later.addingTimeInterval(1)), name: "n")
      }
      await #expect(throws: OutboxError.self) { try await schedules.add(event, to: "a-1", .at(later), name: "") }
      await #expect(throws: OutboxError.self) {
        try await schedules.add(event, to: "a-1", .cron(try CronExpression("0 0 30 2 *")), name: "never")
      }
      await #expect(throws: OutboxError.self) {
        try await schedules.add(
          event, to: "a-1", .cron(try CronExpression("@daily"), timeZone: "Nowhere"), name: "nowhere")
      }
      #expect(try await schedules.all() == [first])
    }
  }

  @Test("a writer may schedule and run schedulers; a reader may only look")
  func roles() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      _ = try await Schedules(log).add(event("x"), to: "a-1", .at(.distantFuture), name: "kept")
    }
    for role in ["eventstore_writer", "eventstore_reader"] {
      try await database.withLog({ $0.connection.connectionString += " options='-c role=\(role)'" }) { log in
        let schedules = Schedules(log)
        #expect(try await schedules.all().map(\.name) == ["kept"])
        _ = try await schedules.preview(Timing.Recurrence(try CronExpression("@daily")), count: 1)
        if role == "eventstore_reader" {
          await #expect(throws: (any Error).self) {
            try await schedules.add(event("y"), to: "a-1", .at(.now), name: "y")
          }
          await #expect(throws: PostgreSQLError.self) { try await schedules.cancel("kept") }
        } else {
          try await schedules.add(event("y"), to: "a-1", .at(.now), name: "y")
          try await schedules.add(event("z"), to: "a-1", .at(.distantFuture), name: "z")
          try await runOnce(log)
          try await schedules.cancel("z")
          #expect(try await log.version(of: "a-1") == 1)
        }
      }
    }
  }

  @Test(
    "a schedule that cannot be moved for now, nor put off: its scheduler waits, and appends it once that is over",
    arguments: ["53100", "53200", "55P03", "57014", "42501"])
  func cannotWrite(_ state: String) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await database.sql(
        """
        CREATE SEQUENCE public.refused;
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          PERFORM nextval('public.refused');
          RAISE EXCEPTION 'not now' USING ERRCODE = '\(state)';
        END $$;
        CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON eventstore.schedules
          FOR EACH ROW EXECUTE FUNCTION public.refuse();
        """)
      try await Schedules(log).add(event("late"), to: "order-1", .at(.now.addingTimeInterval(-1)), name: "late")
      let scheduler = Task { try await Scheduler(log).run() }
      // Once for the batch, once alone, and once to be put off.
      try await eventually("it was tried") { try await database.number("SELECT last_value FROM public.refused") >= 3 }
      #expect(try await all(log).isEmpty)
      try await database.sql("DROP TRIGGER refuse ON eventstore.schedules")
      try await eventually("it is appended") { try await all(log).count == 1 }
      scheduler.cancel()
      try await scheduler.value
    }
  }
}
