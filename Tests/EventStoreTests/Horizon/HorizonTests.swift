import EventStore
import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@Suite("The horizon", .timeLimit(.minutes(15)))
struct HorizonTests {
  private static let duration = Duration.seconds(8)
  private static let endType = "test.end"

  @Test("every committed event is delivered once, in order, whatever happens around it")
  func nothingSkipped() async throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    print("horizon test: seed \(seed)")
    try await IsolatedServer.with { server in
      let database = server.database
      // A transaction that is open all the time, in another database of the cluster.
      let stranger = try await Connection.connect(
        ConnectionConfiguration(ConnectionString.withDatabase("postgres", in: database.connectionString)))
      defer { stranger.close() }
      try await stranger.script("BEGIN; SELECT pg_current_xact_id()")

      try await database.withLog({ $0.plaintextCategories = ["raw"] }) { log in
        try await Self.run(database, log, seed)
      }
    }
  }

  private static func run(_ database: TestDatabase, _ log: PostgreSQLEventLog, _ seed: UInt64) async throws {
    let readers = (0..<4).map { number in
      Task { try await positions(database, reader: number) }
    }
    let naive = Task { try await naivePositions(database) }
    try await write(database, log, seed)
    let end = try await log.append([.sample(type: endType)], to: "end-1", expecting: .noStream).positions[0]

    let committed = try await database.column(
      "SELECT position FROM eventstore.events ORDER BY position", as: Int.self
    ).map { Position(Int64($0)) }
    #expect(committed.last == end && committed.count > 500)
    for (number, reader) in readers.enumerated() {
      let delivered = try await reader.value
      #expect(delivered == delivered.sorted() && Set(delivered).count == delivered.count)
      let skipped = Set(committed).subtracting(delivered)
      #expect(
        skipped.isEmpty, "seed \(seed): reader \(number) skipped \(skipped.count) of \(committed.count)")
      #expect(delivered.count == committed.count)
      if !skipped.isEmpty { try await describe(skipped, in: database) }
    }
    let seenNaively = try await naive.value
    print(
      "horizon test: \(committed.count) events; a plain cursor skips \(committed.count - seenNaively.count)")
    #expect(seenNaively.count < committed.count, "the control skipped nothing: the test is too tame")
  }

  /// What is known of events that a reader missed, and of those around them.
  private static func describe(
    _ skipped: Set<Position>, in database: TestDatabase
  ) async throws {
    for position in skipped.sorted().prefix(5) {
      let around = try await database.column(
        "SELECT concat_ws(' ', position, name, version, type, recorded_at, e.xmin) FROM eventstore.events e "
          + "JOIN eventstore.streams USING (stream_id) WHERE abs(position - $1) < 6 ORDER BY position",
        Parameters(Int64(position.description) ?? 0), as: String.self)
      print("skipped \(position); the log there:\n  \(around.joined(separator: "\n  "))")
    }
  }

  /// Writers of all kinds, and somebody who kills connections.
  private static func write(_ database: TestDatabase, _ log: PostgreSQLEventLog, _ seed: UInt64) async throws {
    let deadline = ContinuousClock.now + duration
    try await withThrowingTaskGroup { group in
      for number in 0..<6 {
        group.addTask {
          var writer = RawWriter(
            connectionString: database.connectionString,
            stream: try StreamName(category: "raw", id: "\(number)"),
            numbers: SeededNumbers(seed: seed &+ UInt64(number)))
          try await writer.run(until: deadline)
        }
        group.addTask {
          var numbers = SeededNumbers(seed: seed &+ 100 &+ UInt64(number))
          while ContinuousClock.now < deadline {
            let stream = try StreamName(category: "own", id: "\(Int.random(in: 0..<10, using: &numbers))")
            let events = EventData.samples(Int.random(in: 1...4, using: &numbers))
            try await log.append(events, to: stream, expecting: .any)
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...15, using: &numbers)))
          }
        }
      }
      group.addTask {
        var numbers = SeededNumbers(seed: seed &+ 1000)
        while ContinuousClock.now < deadline {
          try await Task.sleep(for: .milliseconds(150))
          // Now and then one of the log's own, which appends and reads.
          let name = Int.random(in: 0..<5, using: &numbers) == 0 ? "eventstore" : RawWriter.applicationName
          try await database.sql(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE application_name = '\(name)' "
              + "AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1) AS victim")
        }
      }
      try await group.waitForAll()
    }
    // What was prepared and lost its decision.
    let left = try await database.column(
      "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()", as: String.self)
    for name in left { try await database.sql("COMMIT PREPARED '\(name)'") }
  }

  private static func positions(_ database: TestDatabase, reader number: Int) async throws -> [Position] {
    try await database.withLog({
      $0.plaintextCategories = ["raw"]
      $0.listens = number % 2 == 0
      $0.pageSize = [1000, 5, 50, 1][number]
    }) { log in
      var positions: [Position] = []
      // One that starts over again and again, from where it was.
      let most = number == 1 ? 40 : Int.max
      while true {
        var count = 0
        for try await event in log.subscribe(after: positions.last ?? .start) {
          positions.append(event.position)
          if event.type == endType { return positions }
          count += 1
          if count == most { break }
        }
      }
    }
  }

  /// The control: a cursor that trusts that positions become visible in order.
  private static func naivePositions(_ database: TestDatabase) async throws -> [Position] {
    let query = Statement(
      "SELECT position, type FROM eventstore.events WHERE position > $1 ORDER BY position")
    let connection = try await Connection.connect(ConnectionConfiguration(database.connectionString))
    var current = connection
    defer { current.close() }
    var positions: [Position] = []
    while true {
      do throws(PostgreSQLError) {
        for row in try await current.execute(
          query, Parameters(Int64(positions.last?.description ?? "0") ?? 0))
        {
          let (position, type) = try row.decode((Int, String).self)
          positions.append(Position(Int64(position)))
          if type == endType { return positions }
        }
      } catch {
        guard error.isUnavailable else { throw error }
        current = try await Connection.connect(ConnectionConfiguration(database.connectionString))
      }
      try await Task.sleep(for: .milliseconds(1))
    }
  }

  @Test("a reader stalls behind an open append, not behind an open stranger", .database)
  func stalls() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await database.withConnection { stranger in
        try await stranger.script("BEGIN; CREATE TABLE strange (n int); INSERT INTO strange VALUES (1)")
        try await log.append([.sample("1")], to: "account-1", expecting: .noStream)
        #expect(try await log.readAll().collect().count == 1)

        try await log.withTransaction { (transaction: borrowing Transaction) in
          try await log.append([.sample("2")], to: "account-2", expecting: .noStream, in: transaction)
          try await log.append([.sample("3")], to: "account-3", expecting: .noStream)
          // Position 3 is committed; position 2 may still come.
          #expect(try await log.readAll().collect().map(\.text) == ["1"])
        }
        #expect(try await log.readAll().collect().map(\.text) == ["1", "2", "3"])
      }
    }
  }
}
