import EventStore
import FoundationEssentials
import PostgreSQL
import Projections
import Replay
import Synchronization
import TestSupport
import Testing

private final class Counter: Sendable {
  private let count: Mutex<Int>
  init(_ count: Int) { self.count = Mutex(count) }
  func add(_ more: Int) { count.withLock { $0 += more } }
  var value: Int { count.withLock { $0 } }
}

@Suite("Rebuilding beside the live one", .database, .timeLimit(.minutes(15)))
struct RebuildTests {
  /// A store with a live projection.
  func withLive<R>(
    _ text: String = Model.first, events: Int = 100,
    _ body: (PostgreSQLEventLog, ProjectionCatalog, Books) async throws -> R
  ) async throws -> R {
    try await TestDatabase.required.withLog { log in
      var random = SeededNumbers(seed: 9)
      var books = Books()
      try await books.append(events, to: log, &random)
      let catalog = ProjectionCatalog(log)
      try await catalog.register(try Model.model(text))
      try await withRunner(log) { try await eventually("live") { try await catalog.builds()[0].role == .live } }
      return try await body(log, catalog, books)
    }
  }

  func fingerprint() async throws -> [String] {
    try await TestDatabase.required.column(
      """
      SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE n.nspname NOT LIKE 'pg\\_%'
      UNION ALL SELECT nspname::text FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_t%'
      UNION ALL SELECT 'build ' || build || name || role FROM eventstore.projection_builds
      UNION ALL SELECT 'checkpoint ' || build || part || position FROM eventstore.projection_checkpoints
      ORDER BY 1
      """)
  }

  @Test("built, compared, switched, rolled back, switched again, retired; each of them seen by readers")
  func life() async throws {
    let database = try TestDatabase.required
    try await withLive { log, catalog, books in
      let second = try Model.model(Model.second)
      let built = try await catalog.rebuild("balance", with: second, options: quick())
      #expect(built.role == .new && built.version == 2 && built.caughtUpAt != nil && built.applied == books.total)
      let comparison = try await catalog.compare("balance")
      #expect(!comparison.isSame && comparison.tables.count == 1)
      #expect(comparison.tables[0].columnsOnlyInNew == ["double"] && comparison.tables[0].hasSameRows)
      func columns() async throws -> [String] {
        try await database.column(
          """
          SELECT column_name::text FROM information_schema.columns
           WHERE table_schema = 'eventstore_views' ORDER BY ordinal_position
          """)
      }
      #expect(try await columns() == ["account", "cents", "events"])
      try await catalog.switchOver("balance")
      #expect(try await columns() == ["account", "cents", "events", "double"])
      #expect(try await rows(database) == books.rows)
      #expect(try await catalog.builds().map(\.role) == [.previous, .live])
      try await catalog.rollback("balance")
      #expect(try await columns() == ["account", "cents", "events"])
      #expect(try await catalog.builds().map(\.role) == [.live, .new])
      #expect(try await rows(database) == books.rows)
      await #expect(throws: ProjectionError.noBuild(name: "balance", .previous)) {
        try await catalog.rollback("balance")
      }
      try await catalog.switchOver("balance")
      // The previous one is kept up to date for a way back, by whoever runs projections.
      try await log.append([Model.deposit(1)], to: "account-new", expecting: .noStream)
      try await withRunner(log) {
        try await eventually("both have it") { try await catalog.builds().allSatisfy { $0.applied == books.total + 1 } }
      }
      try await catalog.retire("balance")
      #expect(try await catalog.builds().map(\.role) == [.live])
      #expect(try await columns().count == 4)
    }
  }

  @Test("abandoned: no trace of it, and the live one is untouched")
  func abandoned() async throws {
    try await withLive { log, catalog, books in
      let before = try await fingerprint()
      _ = try await catalog.rebuild("balance", with: try Model.model(Model.second), options: quick())
      try await withRunner(log) { try await catalog.abandon("balance") }
      #expect(try await fingerprint() == before)
      #expect(try await rows(TestDatabase.required) == books.rows)
      await #expect(throws: ProjectionError.noBuild(name: "balance", .new)) { try await catalog.abandon("balance") }
    }
  }

  @Test(
    "while writers append and readers read, built, switched and rolled back: no read fails, none is wrong, none goes back"
  )
  func readersUnaware() async throws {
    let database = try TestDatabase.required
    try await withLive(events: 300) { log, catalog, books in
      let text = Model.text(
        version: 2, columns: "double bigint", values: ", sum(2 * (data->>'cents')::bigint)",
        update: ", double = b.double + excluded.double")
      let appended = Counter(books.total)
      try await withRunner(log) {
        try await withThrowingTaskGroup(of: Int.self) { group in
          for writer in 0..<4 {
            group.addTask {
              var count = 0
              while !Task.isCancelled {
                let result = try? await log.append(
                  (0..<3).map { _ in Model.deposit(7) }, to: Model.stream(100 + writer), expecting: .any)
                if result != nil {
                  appended.add(3)
                  count += 1
                }
                try? await Task.sleep(for: .milliseconds(3))
              }
              return count
            }
          }
          for _ in 0..<2 {
            group.addTask {
              // Reads of all rows at once: the sums of one moment.
              try await database.withConnection { connection in
                // In one statement: of the accounts of the writers, and of the others, which no one changes.
                let query = Statement(
                  """
                  SELECT sum(events)::bigint,
                         coalesce(sum(cents) FILTER (WHERE account NOT LIKE 'account-1__'), 0)::bigint,
                         coalesce(sum(cents - 7 * events) FILTER (WHERE account LIKE 'account-1__'), 0)::bigint
                    FROM eventstore_views.balance
                  """)
                let expected = books.cents.values.reduce(0, +)
                var (last, reads) = (0, 0)
                while !Task.isCancelled {
                  let rows = try await connection.send(query).outcome().get()
                  let events = Int(rows.int64(0, 0))
                  #expect(events >= last && events <= appended.value + 12)
                  #expect(Int(rows.int64(0, 1)) == expected && rows.int64(0, 2) == 0)
                  last = events
                  reads += 1
                  try? await Task.sleep(for: .milliseconds(2))
                }
                return reads
              }
            }
          }
          for _ in 0..<3 {
            _ = try await catalog.rebuild("balance", with: try Model.model(text), options: quick())
            let comparison = try await catalog.compare("balance")
            #expect(comparison.tables.filter { !$0.hasSameRows }.isEmpty)
            try await catalog.switchOver("balance")
            try await Task.sleep(for: .milliseconds(50))
            try await catalog.rollback("balance")
            try await catalog.abandon("balance")
          }
          group.cancelAll()
          let counts = try await group.reduce(into: []) { $0.append($1) }
          #expect(counts.allSatisfy { $0 > 10 }, "\(counts)")
        }
        try await catalog.wait(for: "balance")
      }
      #expect(
        try await database.number("SELECT sum(events)::bigint FROM eventstore_views.balance") == appended.value)
    }
  }

  @Test("interrupted at random moments and asked for again, it goes on; two at once are refused")
  func resumed() async throws {
    try await withLive(events: 1500) { log, catalog, books in
      let model = try Model.model(Model.second)
      var positions: [Position] = []
      for _ in 0..<6 {
        let running = Task { try await catalog.rebuild("balance", with: model, options: quick()) }
        try await Task.sleep(for: .milliseconds(Int.random(in: 50...250)))
        running.cancel()
        _ = await running.result
        positions.append(try await catalog.builds(of: "balance").first { $0.role == .new }?.position ?? .start)
      }
      #expect(positions == positions.sorted())
      let slow = Task {
        try await catalog.rebuild(
          "balance", with: model,
          options: quick {
            $0.connections = 1; $0.batchEvents = 20
          })
      }
      try await eventually("begun") {
        let build = try await catalog.build(of: "balance", as: .new)
        return build.process != nil || build.caughtUpAt != nil
      }
      do {
        _ = try await catalog.rebuild("balance", with: model, options: quick())
        // The first one was done already.
      } catch let error as ProjectionError {
        guard case .underWay = error else { throw error }
      }
      let built = try await slow.value
      #expect(built.applied == books.total)
      let schema = built.tableSchema(of: "eventstore")
      #expect(try await rows(TestDatabase.required, "\(schema).balance") == books.rows)
    }
  }

  @Test("what is asked wrongly is refused, and changes nothing")
  func refused() async throws {
    let database = try TestDatabase.required
    try await withLive(Model.text(version: 3)) { log, catalog, books in
      let before = try await fingerprint()
      func refuses(_ expected: ProjectionError, _ body: () async throws -> Void) async {
        do {
          try await body()
          Issue.record("not refused: \(expected)")
        } catch {
          #expect(error as? ProjectionError == expected)
        }
      }
      func rebuild(_ text: String) async throws {
        _ = try await catalog.rebuild("balance", with: try Model.model(text), options: quick())
      }
      await refuses(.versionGoesBack(name: "balance", live: 3, given: 2)) { try await rebuild(Model.second) }
      await refuses(.changed(name: "balance", version: 3)) { try await rebuild(Model.text(version: 3, more: "-- x")) }
      await refuses(.exists(name: "balance", .live, version: 3)) {
        try await catalog.register(try Model.model(Model.text(version: 4)))
      }
      await refuses(.versionGoesBack(name: "balance", live: 3, given: 1)) {
        try await catalog.register(try Model.model(Model.first))
      }
      await refuses(.noBuild(name: "balance", .new)) { try await catalog.switchOver("balance") }
      await refuses(.noBuild(name: "balance", .new)) { _ = try await catalog.compare("balance") }
      await refuses(.noBuild(name: "balance", .previous)) { try await catalog.retire("balance") }
      await refuses(.notFound(name: "other", known: ["balance"])) { try await catalog.switchOver("other") }
      await #expect(throws: ReadModelError.self) { try await rebuild(Model.text(version: 4, values: ", nonsense")) }
      await #expect(throws: ReadModelError.self) {
        try await rebuild(
          Model.text(
            version: 4, more: "-- on: closed\nDELETE FROM eventstore.streams WHERE name IN (SELECT stream FROM events);"
          ))
      }
      await refuses(.nameTaken(view: "eventstore_views.balance", by: "projection balance")) {
        try await catalog.register(
          try Model.model(Model.text().replacing("read model: balance", with: "read model: thief")))
      }
      #expect(try await fingerprint() == before)

      // A switch before it has caught up.
      try await log.append([Model.deposit(1)], to: "account-1000", expecting: .noStream)
      let slow = try Model.model(
        Model.text(version: 4, table: "cents bigint NOT NULL CHECK (account <> 'account-1000')"))
      await #expect(throws: ProjectionError.self) {
        _ = try await catalog.rebuild("balance", with: slow, options: quick())
      }
      let error = await #expect(throws: ProjectionError.self) { try await catalog.switchOver("balance") }
      guard case .stopped(_, 4, let failure)? = error else {
        Issue.record("found \(String(describing: error))")
        return
      }
      #expect(failure.stream == "account-1000")
      await refuses(.exists(name: "balance", .new, version: 4)) { try await rebuild(Model.text(version: 5)) }
      try await catalog.abandon("balance")
      try await database.sql("CREATE VIEW public.mine AS SELECT account, cents FROM eventstore_views.balance")
      _ = try await catalog.rebuild(
        "balance",
        with: try Model.model(
          Model.text(version: 4).replacing(
            "account text PRIMARY KEY, cents bigint NOT NULL", with: "account text PRIMARY KEY, cents numeric NOT NULL")
        ),
        options: quick())
      await refuses(.dependents(view: "eventstore_views.balance", dependents: ["public.mine"])) {
        try await catalog.switchOver("balance")
      }
      #expect(try await rows(database) == books.rows)
    }
  }

  @Test("the last gap is closed to its end, also where an append that is under way holds the horizon back")
  func gapBelowTheHorizon() async throws {
    let database = try TestDatabase.required
    try await withLive { log, catalog, books in
      var books = books
      let built = try await catalog.rebuild("balance", with: try Model.model(Model.second), options: quick())
      // The live one goes on, the new one cannot.
      try await database.withConnection { holder in
        try await holder.script("BEGIN; LOCK TABLE \(built.tableSchema(of: "eventstore")).balance IN EXCLUSIVE MODE")
        var random = SeededNumbers(seed: 77)
        try await books.append(30, to: log, &random)
        try await withRunner(log) { try await catalog.wait(for: "balance") }
        try await holder.script("COMMIT")
      }
      let (live, new) = (
        try await catalog.build(of: "balance", as: .live), try await catalog.build(of: "balance", as: .new)
      )
      #expect(new.position < live.position)
      try await database.withConnection { open in
        try await open.script(
          """
          BEGIN;
          SELECT pg_advisory_xact_lock_shared(('eventstore.events'::regclass::oid::bigint & 32767) << 48 | 1)
          """)
        try await catalog.switchOver("balance")
        #expect(try await rows(database) == books.rows)
        try await open.script("COMMIT")
      }
    }
  }

  @Test("a build that went live by itself stays where a rollback has put it")
  func rolledBackForGood() async throws {
    try await withLive { log, catalog, _ in
      _ = try await catalog.rebuild("balance", with: try Model.model(Model.second), goesLive: true, options: quick())
      #expect(try await catalog.builds().map(\.role) == [.previous, .live])
      try await catalog.rollback("balance")
      try await withRunner(log) {
        try await log.append([Model.deposit(1)], to: "account-late", expecting: .noStream)
        try await eventually("both follow") {
          let builds = try await catalog.builds()
          let end = try await catalog.lag(of: builds[0]).end
          return builds.allSatisfy { $0.position == end }
        }
      }
      #expect(try await catalog.builds().map(\.role) == [.live, .new])
    }
  }
}
