import FoundationEssentials
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@testable import EventStore

@Suite("Appends in the caller's transaction", .database, .timeLimit(.minutes(15)))
struct TransactionTests {
  struct Undo: Error {}

  private static let insert = Statement("INSERT INTO orders VALUES ($1)")

  @Test("committed and rolled back with everything else")
  func together() async throws {
    let database = try TestDatabase.required
    try await database.sql("CREATE TABLE orders (number bigint)")
    try await database.withLog { log in
      for (number, commits) in [(1, true), (2, false), (3, true)] {
        do {
          try await log.withTransaction { (transaction: borrowing Transaction) in
            try await transaction.execute(Self.insert, Parameters(Int64(number)))
            let stream = try StreamName(category: "order", id: "\(number)")
            try await log.append([.sample("\(number)")], to: stream, expecting: .noStream, in: transaction)
            if !commits { throw Undo() }
          }
        } catch is Undo {}
      }
      #expect(try await log.readAll().collect().map(\.text) == ["1", "3"])
      #expect(try await log.subscribe().first(2).map(\.text) == ["1", "3"])
      #expect(try await database.number("SELECT sum(number)::bigint FROM orders") == 4)
    }
  }

  @Test("a key that was seen in a transaction that is rolled back does not count as the store's")
  func rolledBackKey() async throws {
    try await TestDatabase.required.withLog { log in
      await #expect(throws: Undo.self) {
        try await log.withTransaction { (transaction: borrowing Transaction) in
          try await log.append([.sample("a")], to: "order-1", expecting: .any, in: transaction)
          // As after a lost connection of a lane, or when very many keys are in use.
          log.keys.forget()
          try await log.append([.sample("b")], to: "order-1", expecting: .any, in: transaction)
          throw Undo()
        }
      }
      try await log.append([.sample("c")], to: "order-1", expecting: .any)
      let read = try await TestDatabase.required.withLog { try await $0.read("order-1").collect() }
      #expect(try read.map { try $0.payload.get() } == [EventData.sample("c").payload])
    }
  }

  @Test("an append that waits for another's transaction does not hold up appends to other streams")
  func blocked() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      // Who makes a category keeps others from making it too, until it is committed.
      try await log.append([.sample("a")], to: "order-0", expecting: .noStream)
      let waiting = Mutex<Task<Appended, any Error>?>(nil)
      try await log.withTransaction { (transaction: borrowing Transaction) in
        try await log.append([.sample("a")], to: "order-1", expecting: .noStream, in: transaction)
        let blocked = Task { try await log.append(EventData.samples(3), to: "order-1", expecting: .any) }
        waiting.withLock { $0 = blocked }
        var seen = 0
        while seen == 0 {
          try await Task.sleep(for: .milliseconds(5))
          seen = try await database.number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
        }
        for version in 0..<5 { try await log.append([.sample("b")], to: "order-2", expecting: .exact(version)) }
        #expect(try await log.read("order-1").collect().isEmpty)
      }
      let appended = try await waiting.withLock { $0 }?.value
      #expect(appended?.firstVersion == 2 && appended?.version == 4)
      #expect(try await log.read("order-2").collect().count == 5)
    }
  }

  @Test("others need not wait for a key that an open transaction was the first to use", arguments: [true, false])
  func keyOfOpenTransaction(commits: Bool) async throws {
    let database = try TestDatabase.required
    func about(_ text: String) -> EventData { EventData(type: "t", payload: .json("\"\(text)\""), subject: "alice") }
    try await database.withLog { log in
      // Who makes a category keeps others from making it too, until it is committed.
      try await log.append([.sample("a")], to: "order-0", expecting: .noStream)
      do {
        try await log.withTransaction { (transaction: borrowing Transaction) in
          try await log.append([about("1"), about("2")], to: "order-1", expecting: .any, in: transaction)
          try await log.append([about("3")], to: "order-2", expecting: .noStream, in: transaction)
          // Of this process, and of another.
          try await log.append([about("4")], to: "order-3", expecting: .any)
          try await database.withLog { other in
            try await other.append([about("5")], to: "order-4", expecting: .any)
            // Its key may have been made by an append that is not committed either.
            try await log.append([about("6")], to: "order-1", expecting: .any, in: transaction)
          }
          if !commits { throw Undo() }
        }
      } catch is Undo {}
      try await log.append([about("7")], to: "order-1", expecting: .any)
      let events = try await database.withLog { try await $0.readAll().collect() }
      let expected = commits ? ["1", "2", "3", "4", "5", "6", "7"] : ["4", "5", "7"]
      #expect(
        try events.dropFirst().map { String(decoding: try $0.payload.get().bytes, as: UTF8.self) }.sorted()
          == expected.map { "\"\($0)\"" })
      // A transaction uses one key for a subject, and so does everybody else.
      let keys = try await database.number("SELECT count(*) FROM eventstore.data_keys WHERE subject = 'alice'")
      #expect(keys <= 3)
    }
  }

  @Test("one append that is held up fails alone at its time-out, not with those that travelled with it")
  func timedOutTogether() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample("a")], to: "order-0", expecting: .noStream)
      try await database.withLog({
        $0.connection.statementTimeout = .seconds(1)
        $0.appendLanes = 1
      }) { other in
        for stream in 1...20 {
          try await other.append([.sample()], to: StreamName(category: "order", id: "\(stream)"), expecting: .any)
        }
        try await log.withTransaction { (transaction: borrowing Transaction) in
          try await log.append([.sample()], to: "order-7", expecting: .exact(1), in: transaction)
          await withTaskGroup(of: Void.self) { group in
            for stream in 1...20 {
              group.addTask {
                do {
                  let appended = try await other.append(
                    [.sample()], to: StreamName(category: "order", id: "\(stream)"), expecting: .exact(1))
                  #expect(stream != 7 && appended.firstVersion == 2)
                } catch {
                  #expect(stream == 7, "\(stream): \(error)")
                }
              }
            }
          }
        }
      }
    }
  }

  @Test("a transaction with very many appends leaves the server's lock table to others; readers pass none of them over")
  func manyAppends() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample("first")], to: "order-0", expecting: .noStream)
      try await log.withTransaction { (transaction: borrowing Transaction) in
        for number in 1...400 {
          try await log.append(
            [.sample()], to: StreamName(category: "order", id: "\(number % 50)"), expecting: .any, in: transaction)
        }
        let locks = try await transaction.execute(
          Statement("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"))
        #expect(locks.int64(0, 0) <= 110)
        // Of others, meanwhile.
        try await database.withLog { try await $0.append([.sample("other")], to: "other-1", expecting: .noStream) }
        #expect(try await log.readAll().collect().map(\.text) == ["first"])
      }
      #expect(try await log.readAll().collect().count == 402)
      try await log.append([.sample()], to: "order-0", expecting: .any)
      #expect(try await log.readAll().collect().count == 403)
    }
  }

  @Test("readers are told of what a transaction has appended: once it is committed, and only then")
  func announced() async throws {
    try await TestDatabase.required.withLog { log in
      let before = log.hints.count
      try await log.withTransaction { (transaction: borrowing Transaction) in
        try await log.append([.sample("a")], to: "order-1", expecting: .noStream, in: transaction)
        #expect(log.hints.count == before)
      }
      let after = log.hints.count
      #expect(after == before + 1)
      try await log.withTransaction { (transaction: borrowing Transaction) in
        try await transaction.execute(Statement("SELECT 1"))
      }
      try? await log.withTransaction { (transaction: borrowing Transaction) in
        try await log.append([.sample("b")], to: "order-2", expecting: .noStream, in: transaction)
        throw Undo()
      }
      #expect(log.hints.count == after)
    }
  }

  @Test("nothing of a transaction that was rolled back is remembered")
  func rolledBack() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      for round in 0..<3 {
        do {
          try await log.withTransaction { (transaction: borrowing Transaction) in
            // Twice, so that the second sees the first one's stream and key.
            let events = [EventData.sample("lost")]
            try await log.append(events, to: "order-1", expecting: .noStream, in: transaction)
            let again = try await log.append(
              [.sample("lost")], to: "order-1", expecting: .exact(1), in: transaction)
            #expect(again.version == 2)
            try await log.append([.sample("lost")], to: "order-1", expecting: .any, in: transaction)
            throw Undo()
          }
        } catch is Undo {}
        // Takes the next stream id.
        let other = try StreamName(category: "other", id: "\(round)")
        try await log.append([.sample("other")], to: other, expecting: .noStream)
      }
      #expect(try await log.version(of: "order-1") == nil)
      #expect(try await log.read("order-1").collect().isEmpty)
      let appended = try await log.append([.sample("kept")], to: "order-1", expecting: .any)
      #expect(appended.firstVersion == 1)
      try await log.append([.sample("kept")], to: "order-1", expecting: .exact(1))
    }
    // As another process sees it.
    try await database.withLog { log in
      #expect(try await log.read("order-1").collect().map(\.text) == ["kept", "kept"])
      #expect(try await log.readAll().collect().map(\.text) == ["other", "other", "other", "kept", "kept"])
      let strays = try await database.number(
        "SELECT count(*) FROM eventstore.events e LEFT JOIN eventstore.streams s USING (stream_id) WHERE s.name IS NULL"
      )
      #expect(strays == 0)
    }
  }

  @Test("after a conflict the transaction can go on")
  func conflict() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample("1")], to: "order-1", expecting: .noStream)
      try await log.withTransaction { (transaction: borrowing Transaction) in
        do throws(AppendError) {
          try await log.append([.sample("no")], to: "order-1", expecting: .noStream, in: transaction)
          Issue.record("expected a conflict")
        } catch {
          guard case .conflict(let conflict) = error else {
            Issue.record("expected a conflict, found \(error)")
            return
          }
          #expect(conflict.actual == 1)
        }
        try await log.append([.sample("2")], to: "order-1", expecting: .exact(1), in: transaction)
      }
      #expect(try await log.read("order-1").collect().map(\.text) == ["1", "2"])
    }
  }

  @Test(
    "a version that this process has seen, and after which another has appended: the conflict, whichever way it went",
    arguments: [1, 3])
  func overtaken(events: Int) async throws {
    let database = try TestDatabase.required
    func samples(_ text: String) -> [EventData] { (1...events).map { .sample("\(text)\($0)") } }
    try await database.withLog { log in
      for stream in ["order-1", "order-2"] as [StreamName] {
        try await log.append(samples("mine"), to: stream, expecting: .noStream)
        try await database.withLog { other in
          try await other.append(samples("theirs"), to: stream, expecting: .exact(events))
        }
      }
      let error = await #expect(throws: AppendError.self) {
        try await log.append(samples("late"), to: "order-1", expecting: .exact(events))
      }
      guard case .conflict(let conflict) = error else {
        Issue.record("expected a conflict, found \(String(describing: error))")
        return
      }
      #expect(conflict == VersionConflict(stream: "order-1", expected: .exact(events), actual: 2 * events))
      // Not by what the first conflict has taught: on a stream of its own.
      try await log.withTransaction { (transaction: borrowing Transaction) in
        do throws(AppendError) {
          try await log.append(samples("late"), to: "order-2", expecting: .exact(events), in: transaction)
          Issue.record("no conflict")
        } catch {
          guard case .conflict(let conflict) = error else { throw error }
          #expect(conflict.actual == 2 * events)
        }
        try await log.append(samples("on"), to: "order-2", expecting: .exact(2 * events), in: transaction)
      }
      let texts = try await log.read("order-2").collect().map(\.text)
      #expect(texts == ["mine", "theirs", "on"].flatMap { text in (1...events).map { "\(text)\($0)" } })
    }
  }

  @Test("a retry finds what an earlier transaction committed")
  func retry() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let event = EventData.sample()
      var results: [Appended] = []
      for _ in 0..<2 {
        results.append(
          try await log.withTransaction { (transaction: borrowing Transaction) in
            try await log.append([event], to: "order-1", expecting: .any, in: transaction)
          })
      }
      #expect(results.map(\.wasDuplicate) == [false, true] && results[0].positions == results[1].positions)
    }
  }

  @Test("a retry in a transaction needs no second connection, and finds what the transaction itself has written")
  func retryInside() async throws {
    let database = try TestDatabase.required
    try await database.withLog({
      $0.connection.maximumConnections = 1
      $0.connection.poolTimeout = .seconds(1)
      $0.listens = false
    }) { log in
      let earlier = EventData.sample("earlier")
      try await log.append([earlier], to: "order-1", expecting: .any)
      for commits in [false, true] {
        do {
          try await log.withTransaction { (transaction: borrowing Transaction) in
            let again = try await log.append([earlier], to: "order-1", expecting: .any, in: transaction)
            #expect(again.wasDuplicate && again.version == 1)
            let (known, new) = (EventData.sample("known"), EventData.sample("new"))
            for (event, stream) in [(known, "order-1"), (new, "order-2")] as [(EventData, StreamName)] {
              let first = try await log.append([event], to: stream, expecting: .any, in: transaction)
              let second = try await log.append([event], to: stream, expecting: .any, in: transaction)
              #expect(!first.wasDuplicate && second.wasDuplicate && first.positions == second.positions)
            }
            if !commits { throw Undo() }
          }
        } catch is Undo {}
      }
      #expect(try await log.readAll().collect().map(\.text) == ["earlier", "known", "new"])
    }
  }
}
