import EventStore
import FoundationEssentials
import PostgreSQL
import Projections
import Replay
import TestSupport
import Testing

@Suite("Running projections", .database, .timeLimit(.minutes(15)))
struct RunTests {
  @Test("history, then what is appended; every event once; readers use a view", arguments: ["independent", "ordered"])
  func follows(streams: String) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      var random = SeededNumbers(seed: 1)
      var books = Books()
      try await books.append(200, to: log, &random)
      let catalog = ProjectionCatalog(log)
      try await catalog.register(try Model.model(Model.text(streams: streams)))
      try await withRunner(log) {
        try await eventually("live") { try await catalog.builds().first?.role == .live }
        for _ in 0..<5 {
          try await books.append(20, to: log, &random)
          try await catalog.wait(for: "balance")
          #expect(try await rows(database) == books.rows)
        }
      }
      let build = try await catalog.build(of: "balance", as: .live)
      #expect(build.applied == books.total && build.state == .idle && build.process == nil)
      #expect(try await database.number("SELECT count(*) FROM pg_indexes WHERE indexname = 'balance_events'") == 1)
      // Stopped and started again: it goes on where it was.
      try await books.append(20, to: log, &random)
      try await withRunner(log) { try await catalog.wait(for: "balance") }
      #expect(try await rows(database) == books.rows)
    }
  }

  @Test("events of other categories are passed over, and count as no lag")
  func filtered() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await log.append([Model.deposit(5)], to: "account-1", expecting: .noStream)
      try await catalog.register(try Model.model(Model.first))
      try await withRunner(log) {
        try await eventually("live") { try await catalog.builds().first?.role == .live }
        try await log.append([EventData(type: "else", payload: .json("{}"))], to: "other-1", expecting: .noStream)
        try await catalog.wait(for: "balance")
        let build = try await catalog.build(of: "balance", as: .live)
        #expect(try await catalog.lag(of: build).events == 0)
        try await eventually("its position follows") {
          try await catalog.build(of: "balance", as: .live).position == catalog.lag(of: build).end
        }
      }
      #expect(try await rows(database) == ["account-1 5 1"])
    }
  }

  @Test(
    "killed at random points and started again, with random connections and batches: as an independent fold",
    arguments: 1...4 as ClosedRange<UInt64>)
  func resumes(seed: UInt64) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      var random = SeededNumbers(seed: seed)
      var books = Books()
      try await books.append(400, accounts: 60, to: log, &random)
      let catalog = ProjectionCatalog(log)
      try await catalog.register(try Model.model(Model.first))
      for _ in 0..<8 {
        let options = quick {
          $0.connections = Int.random(in: 1...5, using: &random)
          $0.loadEvents = Int.random(in: 7...60, using: &random)
          $0.batchEvents = Int.random(in: 3...40, using: &random)
        }
        let pause = Duration.milliseconds(Int.random(in: 1...120, using: &random))
        // A pool of its own, closed under it: as a process that is gone.
        try await database.withLog { doomed in
          let running = Task { try await ProjectionRunner(doomed, options: options).run() }
          try await Task.sleep(for: pause)
          if Bool.random(using: &random) { await doomed.close() }
          running.cancel()
          _ = await running.result
        }
        try await books.append(10, accounts: 60, to: log, &random)
      }
      try await withRunner(log) {
        try await eventually("live: \(try await catalog.builds())") {
          try await catalog.builds().first?.role == .live
        }
        try await catalog.wait(for: "balance", within: .seconds(60))
      }
      let found = try await rows(database)
      #expect(found == books.rows, "\(Set(found).symmetricDifference(books.rows).sorted())")
      #expect(try await catalog.build(of: "balance", as: .live).applied == books.total)
    }
  }

  @Test("two runners: one runs it, the other takes over when it ends")
  func standby() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await catalog.register(try Model.model(Model.first))
      try await withRunner(log) {
        try await eventually("live") { try await catalog.builds().first?.role == .live }
        let first = Task { try await ProjectionRunner(log, options: quick()).run() }
        try await Task.sleep(for: .milliseconds(300))
        first.cancel()
        _ = await first.result
        try await log.append([Model.deposit(1)], to: "account-1", expecting: .any)
        try await catalog.wait(for: "balance")
      }
      try await log.append([Model.deposit(2)], to: "account-1", expecting: .any)
      try await withRunner(log) { try await catalog.wait(for: "balance") }
      #expect(try await rows(database) == ["account-1 3 2"])
    }
  }

  @Test("the sessions of a runner are killed again and again: nothing is lost, nothing twice")
  func disconnects() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      var random = SeededNumbers(seed: 3)
      var books = Books()
      let catalog = ProjectionCatalog(log)
      try await catalog.register(try Model.model(Model.first))
      try await database.withLog({ $0.connection.applicationName = "doomed" }) { doomed in
        try await withRunner(doomed) {
          for _ in 0..<20 {
            try await books.append(10, to: log, &random)
            try await database.sql(
              "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doomed'")
          }
          try await eventually("caught up") {
            let build = try await catalog.builds()[0]
            return build.role == .live && build.applied == books.total
          }
        }
      }
      #expect(try await rows(database) == books.rows)
    }
  }

  @Test("waiting for a filtered projection takes nothing for applied that an open append may still come before")
  func waitsForTheHorizon() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await log.append([Model.deposit(1)], to: "account-1", expecting: .noStream)
      try await catalog.register(try Model.model(Model.first))
      try await withRunner(log) {
        try await eventually("live") { try await catalog.builds()[0].role == .live }
        try await database.withConnection { open in
          // An append that is under way, as the horizon sees it.
          try await open.script(
            """
            BEGIN;
            SELECT pg_advisory_xact_lock_shared(('eventstore.events'::regclass::oid::bigint & 32767) << 48 | 1)
            """)
          let result = try await log.append([Model.deposit(2)], to: "account-1", expecting: .exact(1))
          let position = try #require(result.positions.last)
          await #expect(throws: ProjectionError.self) {
            try await catalog.wait(for: "balance", toReach: position, within: .milliseconds(300))
          }
          #expect(try await rows(database) == ["account-1 1 1"])
          try await open.script("COMMIT")
          try await catalog.wait(for: "balance", toReach: position)
        }
        #expect(try await rows(database) == ["account-1 3 2"])
        await #expect(throws: ProjectionError.self) {
          try await catalog.wait(for: "balance", toReach: Position("999999"), within: .milliseconds(100))
        }
      }
    }
  }

  @Test("waiting: for what was appended, and not for ever")
  func waiting() async throws {
    try await TestDatabase.required.withLog { log in
      let catalog = ProjectionCatalog(log)
      await #expect(throws: ProjectionError.notFound(name: "balance", known: [])) {
        try await catalog.wait(for: "balance")
      }
      try await catalog.register(try Model.model(Model.first))
      await #expect(throws: ProjectionError.noBuild(name: "balance", .live)) { try await catalog.wait(for: "balance") }
      try await withRunner(log) { try await eventually("live") { try await catalog.builds().first?.role == .live } }
      let result = try await log.append([Model.deposit(1)], to: "account-1", expecting: .noStream)
      let position = try #require(result.positions.last)
      await #expect(throws: ProjectionError.timedOut(name: "balance", waitedFor: position, reached: .start)) {
        try await catalog.wait(for: "balance", toReach: position, within: .milliseconds(50))
      }
      try await catalog.pause("balance")
      await #expect(throws: ProjectionError.paused(name: "balance")) { try await catalog.wait(for: "balance") }
      try await withRunner(log) {
        try await Task.sleep(for: .milliseconds(400))
        #expect(try await catalog.build(of: "balance", as: .live).applied == 0)
        try await catalog.resume("balance")
        #expect(try await catalog.wait(for: "balance", toReach: position) >= position)
      }
    }
  }
}
