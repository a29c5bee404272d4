import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@testable import EventStore

@Suite(
  "Appends that expect no version, where this process believes that it knows it", .database, .timeLimit(.minutes(15)))
struct BelievedVersionTests {
  private static func isBelieved(_ log: PostgreSQLEventLog, _ stream: StreamName) throws -> Bool {
    try log.sealer.sealKnown([StreamAppend([.sample()], to: stream, expecting: .any)])?.first?.mayBePlaced == true
  }

  @Test("several of one stream in a batch follow each other, in the order in which they came")
  func severalOfOneStream() {
    let entries = [StreamDirectory.Entry(id: 1, of: "order-1"), StreamDirectory.Entry(id: 2, of: "order-2")]
    entries[0].saw(5, since: 1)
    entries[1].saw(7, since: 1)
    let call = PlacedCall(
      [
        AppendSamples.part("order-1", .any, events: 2, entry: entries[0]),
        AppendSamples.part("order-2", .exact(3), entry: entries[1]),
        AppendSamples.part("order-1", .any, entry: entries[0]),
      ], mayRaise: true)
    #expect(call.previousVersions == [5, 3, 7])
  }

  @Test("another writer comes in between: it is found, minded for a while, and then believed again", arguments: [1, 3])
  func otherWriter(events: Int) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await database.withLog { other in
        var version = 0
        func append(_ log: PostgreSQLEventLog, _ expected: ExpectedVersion) async throws {
          let appended = try await log.append(EventData.samples(events), to: "order-1", expecting: expected)
          #expect(appended.firstVersion == version + 1 && appended.positions.count == events)
          version = appended.version
        }
        try await append(log, .noStream)
        #expect(try Self.isBelieved(log, "order-1"))
        for _ in 0..<3 {
          try await append(other, .any)
          try await append(log, .any)
          #expect(try !Self.isBelieved(log, "order-1"))
        }
        for _ in 0..<64 { try await append(log, .streamExists) }
        #expect(try Self.isBelieved(log, "order-1"))
        try await append(log, .any)
        #expect(try await log.version(of: "order-1") == version)
      }
    }
  }

  @Test("the same ids again are the same append, whichever way each went", arguments: [1, 3])
  func sameAgain(events: Int) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let first = EventData.samples(events)
      let unseen = try await log.append(first, to: "order-1", expecting: .any)
      let second = EventData.samples(events)
      #expect(try Self.isBelieved(log, "order-1"))
      let believed = try await log.append(second, to: "order-1", expecting: .any)
      #expect(unseen.firstVersion == 1 && believed.firstVersion == 1 + events)
      for (sent, result) in [(first, unseen), (second, believed)] {
        let again = try await log.append(sent, to: "order-1", expecting: .any)
        #expect(again.wasDuplicate && again.firstVersion == result.firstVersion && again.positions == result.positions)
        try await database.withLog { other in
          let again = try await other.append(sent, to: "order-1", expecting: .any)
          #expect(again.wasDuplicate && again.positions == result.positions)
        }
        var altered = sent
        altered[0].type = "another.type"
        let error = await #expect(throws: AppendError.self) {
          try await log.append(altered, to: "order-1", expecting: .any)
        }
        guard case .duplicateEventID = error else {
          Issue.record("expected a duplicate id, found \(String(describing: error))")
          return
        }
      }
      #expect(try await log.version(of: "order-1") == 2 * events)
    }
  }

  @Test("of many that go together some were done before: those are told of that, and the others go in, once")
  func someAgain() async throws {
    try await TestDatabase.required.withLog { log in
      let streams = try (0..<8).map { try StreamName(category: "order", id: "\($0)") }
      var earlier: [(events: [EventData], result: Appended)] = []
      for stream in streams {
        let events = [EventData.sample()]
        earlier.append((events, try await log.append(events, to: stream, expecting: .any)))
      }
      try await withThrowingTaskGroup { group in
        for (stream, (events, result)) in zip(streams, earlier) {
          group.addTask {
            let again = try await log.append(events, to: stream, expecting: .any)
            #expect(again.wasDuplicate && again.positions == result.positions)
          }
          group.addTask {
            let new = try await log.append([.sample()], to: stream, expecting: .any)
            #expect(!new.wasDuplicate && new.version == 2)
          }
        }
        try await group.waitForAll()
      }
      let total = try await log.readAll().collect().count
      #expect(total == 16)
    }
  }

  @Test("in an atomic append: where another part meets a conflict, nothing goes in")
  func together() async throws {
    try await TestDatabase.required.withLog { log in
      for stream in ["order-1", "order-2", "order-2"] as [StreamName] {
        try await log.append([.sample()], to: stream, expecting: .any)
      }
      func append(_ expected: Int) async throws(AppendError) -> [Appended] {
        try await log.append([
          StreamAppend([.sample()], to: "order-1", expecting: .any),
          StreamAppend([.sample()], to: "order-2", expecting: .exact(expected)),
        ])
      }
      let error = await #expect(throws: AppendError.self) { try await append(1) }
      guard case .conflict(let conflict) = error else {
        Issue.record("expected a conflict, found \(String(describing: error))")
        return
      }
      #expect(conflict.stream == "order-2" && conflict.actual == 2)
      let version = try await log.version(of: "order-1")
      #expect(version == 1)
      let appended = try await append(2)
      #expect(appended.map(\.version) == [2, 3])
    }
  }

  @Test("many callers of two processes' worth of logs, on a few streams: no gap, none twice, each told its own place")
  func manyCallers() async throws {
    let database = try TestDatabase.required
    let streams: [StreamName] = ["order-1", "order-2", "order-3"]
    try await database.withLog { log in
      try await database.withLog { other in
        for stream in streams { try await log.append([.sample()], to: stream, expecting: .noStream) }
        let told = try await withThrowingTaskGroup(of: [(StreamName, Int, UUID)].self) { group in
          for caller in 0..<24 {
            group.addTask {
              var told: [(StreamName, Int, UUID)] = []
              for number in 0..<40 {
                // The other log comes and goes, so that there are times of both kinds.
                let mine = caller % 4 != 0 || number % 20 < 10
                let stream = streams[(caller + number) % streams.count]
                let events = EventData.samples(number % 7 == 0 ? 2 : 1)
                let appended = try await (mine ? log : other).append(
                  events, to: stream, expecting: number % 5 == 4 ? .streamExists : .any)
                for (index, event) in events.enumerated() {
                  told.append((stream, appended.firstVersion + index, event.id))
                }
              }
              return told
            }
          }
          return try await group.reduce(into: []) { $0 += $1 }
        }
        for stream in streams {
          let own = told.filter { $0.0 == stream }.sorted { $0.1 < $1.1 }
          let recorded = try await log.read(stream).collect()
          #expect(recorded.map(\.version) == Array(1...own.count + 1))
          #expect(recorded.dropFirst().map(\.id) == own.map(\.2))
          #expect(zip(recorded, recorded.dropFirst()).allSatisfy { $0.position < $1.position })
        }
      }
    }
  }

  @Test("in the caller's transaction nothing is believed: it may have appended before")
  func transaction() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append([.sample("1")], to: "order-1", expecting: .noStream)
      try await log.withTransaction { (transaction: borrowing Transaction) in
        for text in ["2", "3"] {
          let appended = try await log.append([.sample(text)], to: "order-1", expecting: .any, in: transaction)
          #expect(String(appended.version) == text)
        }
      }
      let appended = try await log.append([.sample("4")], to: "order-1", expecting: .any)
      #expect(appended.version == 4)
    }
  }

  @Test("what a server has lost, which did not wait for its disk: nothing is believed that an older connection saw")
  func lost() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      for stream in ["order-1", "order-2"] as [StreamName] {
        for _ in 0..<3 { try await log.append([.sample()], to: stream, expecting: .any) }
      }
      // Nothing is under way meanwhile.
      try await database.sql(
        """
        ALTER TABLE eventstore.events DISABLE TRIGGER events_append_only;
        DELETE FROM eventstore.events WHERE version = 3;
        ALTER TABLE eventstore.events ENABLE TRIGGER events_append_only;
        SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid();
        """)
      let appended = try await log.append([.sample()], to: "order-1", expecting: .any)
      #expect(appended.version == 3)
      let error = await #expect(throws: AppendError.self) {
        try await log.append([.sample()], to: "order-2", expecting: .exact(3))
      }
      guard case .conflict(let conflict) = error else {
        Issue.record("expected a conflict, found \(String(describing: error))")
        return
      }
      #expect(conflict.actual == 2)
    }
  }
}
