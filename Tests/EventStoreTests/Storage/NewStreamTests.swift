import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@testable import EventStore

@Suite("Appends that make streams", .database, .timeLimit(.minutes(15)))
struct NewStreamTests {
  static func isBelieved(_ log: PostgreSQLEventLog, _ expected: ExpectedVersion = .noStream) throws -> Bool {
    try log.sealer.sealed(
      [StreamAppend([.sample()], to: "order-unheard-of", expecting: expected)], false, afterLookUp: true)?
      .first?.mayBePlaced == true
  }

  /// The conflict that an append meets.
  private static func conflict(
    _ log: PostgreSQLEventLog, _ stream: StreamName, _ expected: ExpectedVersion = .noStream
  ) async -> VersionConflict? {
    let error = await #expect(throws: AppendError.self) {
      try await log.append([.sample()], to: stream, expecting: expected)
    }
    guard case .conflict(let conflict) = error else {
      Issue.record("expected a conflict, found \(String(describing: error))")
      return nil
    }
    return conflict
  }

  @Test("they travel behind known streams, by name; several that expect no version follow each other")
  func order() {
    let entry = StreamDirectory.Entry(id: 7, of: "order-7")
    entry.saw(5, since: 1)
    let call = PlacedCall(
      [
        AppendSamples.part("order-c", .any, events: 2), AppendSamples.part("order-b", .noStream),
        AppendSamples.part("order-7", .any, entry: entry), AppendSamples.part("order-c", .any),
        AppendSamples.part("order-7", .any, entry: entry),
      ], mayRaise: true)
    #expect(call.previousVersions == [0, 0, 5, 2, 6])
  }

  @Test("appends to one stream, of which only some know its id, keep their order in a call")
  func someKnown() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append([.sample("0")], to: "order-1", expecting: .noStream)
      let requests = try (1...6).map { number in
        let known = try #require(
          try log.sealer.sealKnown([StreamAppend([.sample("\(number)")], to: "order-1", expecting: .any)])?[0])
        guard number.isMultiple(of: 2) else { return AppendRequest([known]) }
        return AppendRequest([
          SealedAppend(
            stream: known.stream, entry: nil, expected: .any, mayBePlaced: false, events: known.events,
            newKeys: known.newKeys)
        ])
      }
      let verdicts = try await log.pool.withConnection { connection in
        try await AppendCall(requests, on: connection, log.queries).verdicts().get()
      }
      for (number, verdict) in verdicts.enumerated() {
        guard case .appended(_, let version, _) = verdict else {
          Issue.record("expected it to be appended, found \(verdict)")
          continue
        }
        #expect(version == number + 2)
      }
      #expect(try await log.read("order-1").collect().map(\.text) == (0...6).map { "\($0)" })
    }
  }

  @Test("the store makes them in the order of their bytes, in a database of any collation")
  func collation() async throws {
    let database = try TestDatabase.required
    let name = "icu_\(UInt32.random(in: 0...UInt32.max))"
    try await database.sql(
      "CREATE DATABASE \(name) TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    let own = TestDatabase(
      connectionString: ConnectionString.withDatabase(name, in: database.connectionString), keyring: database.keyring)
    try await Migrator(ConnectionConfiguration(own.connectionString)).migrate()
    let made = try await own.column(
      "SELECT name FROM eventstore.stream_ids(ARRAY['order-a', 'order-B', 'invoice-é', 'Invoice-z']) ORDER BY stream_id >> 8 & 255",
      as: String.self)
    #expect(made == ["Invoice-z", "invoice-é", "order-B", "order-a"])
    try await own.withLog { log in
      try await withThrowingTaskGroup { group in
        for letter in ["a", "B", "c", "D", "é", "E", "z"] {
          group.addTask {
            try await log.append([.sample()], to: StreamName("order-new-\(letter)"), expecting: .noStream)
          }
        }
        try await group.waitForAll()
      }
    }
    try await database.sql("DROP DATABASE \(name) WITH (FORCE)")
  }

  @Test("one that another append of the same process has made since this one was sealed: they do not share a call")
  func madeSince() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      func sealed(_ expected: ExpectedVersion) throws -> [SealedAppend] {
        try #require(
          try log.sealer.sealed(
            [StreamAppend([.sample()], to: "order-1", expecting: expected)], false, afterLookUp: true))
      }
      let early = try sealed(.any)
      try await log.append([.sample()], to: "order-1", expecting: .noStream)
      let late = try sealed(.exact(1))
      #expect(early[0].streamKey == late[0].streamKey)
      // The store knows, too, should that ever be.
      let requests = [early, late].map { AppendRequest($0) }
      let lease = try await log.pool.lease()
      let outcome = await AppendCall(requests, on: lease.connection, log.queries).verdicts()
      guard case .failure(let error) = outcome else {
        Issue.record("both went in")
        return
      }
      #expect(error.sqlState == "22023")
      let version = try await log.version(of: "order-1")
      #expect(version == 1)
    }
  }

  @Test("what was never believed to be new raises no doubts about what is")
  func noDoubts() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append([.sample()], to: "order-1", expecting: .noStream)
      #expect(await Self.conflict(log, "order-2", .streamExists)?.actual == 0)
      #expect(await Self.conflict(log, "order-2", .exact(3))?.actual == 0)
      #expect(try Self.isBelieved(log))
      #expect(try !Self.isBelieved(log, .streamExists))
    }
  }

  @Test("two spellings of a letter are two names, in the store's order")
  func spellings() async throws {
    let (composed, decomposed) = (try StreamName("order-\u{E9}"), try StreamName("order-e\u{301}"))
    #expect(decomposed < composed && !(composed < decomposed) && !(composed < composed))
    let call = PlacedCall(
      [composed, decomposed, composed, decomposed].map { AppendSamples.part($0, .any) }, mayRaise: true)
    #expect(call.previousVersions == [0, 0, 1, 1])
    try await TestDatabase.required.withLog { log in
      try await log.append([.sample()], to: "order-1", expecting: .noStream)
      let appended = try await log.append(
        [composed, decomposed].map { StreamAppend([.sample()], to: $0, expecting: .any) })
      #expect(appended[1].positions[0] < appended[0].positions[0])
      for stream in [composed, decomposed] {
        let appended = try await log.append([.sample()], to: stream, expecting: .exact(1))
        #expect(appended.version == 2)
      }
    }
  }

  @Test("need no look, and bring their keys along: alone, together, atomically, and beside known streams")
  func withoutLook() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      for stream in ["order-1", "order-2"] as [StreamName] {
        try await log.append([.sample()], to: stream, expecting: .noStream)
      }
    }
    // append, which looks, is out of reach.
    try await database.sql("REVOKE EXECUTE ON FUNCTION eventstore.append FROM eventstore_writer")
    try await database.withLog({
      $0.connection.connectionString = ConnectionString.withRole("eventstore_writer", in: database.connectionString)
      // What was seen before a connection was made is not believed on it.
      $0.appendLanes = 1
    }) { log in
      let alone = try await log.append(EventData.samples(2), to: "order-alone", expecting: .noStream)
      #expect(alone.firstVersion == 1 && alone.version == 2)
      let unplaced = try await log.append([.sample()], to: "order-any", expecting: .any)
      #expect(unplaced.version == 1)
      // After the lane's connection was made.
      for stream in ["order-1", "order-2"] as [StreamName] { _ = try await log.read(stream).collect() }
      let atomic = try await log.append([
        StreamAppend(EventData.samples(3), to: "order-z", expecting: .noStream),
        StreamAppend([.sample()], to: "order-1", expecting: .exact(1)),
        StreamAppend([.sample()], to: "order-y", expecting: .any),
      ])
      #expect(atomic.map(\.stream) == ["order-z", "order-1", "order-y"])
      #expect(atomic.map(\.version) == [3, 2, 1])
      // By id, then by name.
      #expect(atomic[1].positions[0] < atomic[2].positions[0] && atomic[2].positions[0] < atomic[0].positions[0])
      try await withThrowingTaskGroup { group in
        for caller in 0..<24 {
          group.addTask {
            let stream = try StreamName(category: "order", id: "new-\(caller)")
            for version in 0..<6 {
              let appended = try await log.append([.sample()], to: stream, expecting: .exact(version))
              #expect(appended.version == version + 1)
              try await log.append([.sample()], to: "order-2", expecting: .any)
            }
          }
        }
        try await group.waitForAll()
      }
    }
    try await database.withLog { other in
      let events = try await other.readAll().collect()
      #expect(events.count == 298)
      for event in events { _ = try event.payload.get() }
      let versions = try await other.read("order-2").collect().map(\.version)
      #expect(versions == Array(1...145))
    }
    let wrong = try await database.column(
      """
      SELECT s.name FROM eventstore.streams s JOIN eventstore.categories c ON c.category_id = s.stream_id >> 48
       WHERE c.name <> 'order' OR s.stream_id & 255 <> get_byte(sha256(convert_to(s.name, 'UTF8')), 0)
      """, as: String.self)
    #expect(wrong == [])
  }

  @Test("one that was there already: its own append meets the conflict, the others of its batch go in")
  func taken() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample()], to: "order-known", expecting: .noStream)
      try await database.withLog { other in
        for stream in ["order-0", "order-1"] as [StreamName] {
          try await other.append(EventData.samples(2), to: stream, expecting: .noStream)
        }
      }
      try await withThrowingTaskGroup { group in
        for number in 0..<12 {
          group.addTask {
            let stream = try StreamName(category: "order", id: "\(number)")
            if number < 2 {
              let conflict = await Self.conflict(log, stream)
              #expect(conflict?.stream == stream && conflict?.actual == 2)
            } else {
              let appended = try await log.append([.sample()], to: stream, expecting: .noStream)
              #expect(appended.version == 1)
            }
          }
        }
        try await group.waitForAll()
      }
      let count = try await log.readAll().collect().count
      #expect(count == 15)
      // For a while the store is asked first. (It was asked for the second conflict, at least.)
      #expect(try !Self.isBelieved(log))
      var asked = 1
      while try !Self.isBelieved(log), asked < 1000 { asked += 1 }
      #expect((60...64).contains(asked))
    }
  }

  @Test("one that others have made, to which an append goes that expects no version: it goes behind theirs")
  func unplacedTaken() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample()], to: "order-1", expecting: .noStream)
      // Looked up, and not there yet.
      let sealed = try #require(
        try log.sealer.sealed([StreamAppend([.sample()], to: "order-2", expecting: .any)], false, afterLookUp: true))
      try await database.withLog { try await $0.append(EventData.samples(3), to: "order-2", expecting: .noStream) }
      let verdicts = try await log.appender.append(AppendRequest(sealed)).get()
      guard case .appended(_, let firstVersion, _)? = verdicts.first else {
        Issue.record("found \(verdicts)")
        return
      }
      #expect(firstVersion == 4)
      #expect(try !Self.isBelieved(log))
    }
  }

  @Test("the same ids again are the same append", arguments: [ExpectedVersion.noStream, .any])
  func sameAgain(expected: ExpectedVersion) async throws {
    let database = try TestDatabase.required
    let events = EventData.samples(2)
    let first = try await database.withLog { log in
      try await log.append([.sample()], to: "order-0", expecting: .noStream)
      return try await log.append(events, to: "order-1", expecting: expected)
    }
    #expect(!first.wasDuplicate)
    for _ in 0..<2 {
      try await database.withLog { log in
        for _ in 0..<2 {
          let again = try await log.append(events, to: "order-1", expecting: expected)
          #expect(again.wasDuplicate && again.firstVersion == 1 && again.positions == first.positions)
        }
      }
    }
  }

  @Test("what a caller's transaction has made is not taken for new by its next append")
  func transaction() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append([.sample()], to: "order-0", expecting: .noStream)
      try await log.withTransaction { (transaction: borrowing Transaction) in
        for version in 0..<3 {
          let appended = try await log.append([.sample()], to: "order-1", expecting: .exact(version), in: transaction)
          #expect(appended.version == version + 1)
        }
        let other = try await log.append([.sample()], to: "order-2", expecting: .any, in: transaction)
        #expect(other.version == 1)
      }
      #expect(await Self.conflict(log, "order-1")?.actual == 3)
    }
  }
}
