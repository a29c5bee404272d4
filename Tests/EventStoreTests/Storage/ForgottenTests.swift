import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@testable import EventStore

@Suite("What a process has forgotten", .database, .timeLimit(.minutes(15)))
struct ForgottenTests {
  @Test("a stream that is appended to all the time, and not read, has its name when it is read")
  func names() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append([.sample("{}")], to: "busy-1", expecting: .noStream)
      // As very many others are met: its name is dropped, its version is not.
      for number in 0..<250_000 {
        log.directory.learn(StreamName(trusted: "other-\(number)"), id: Int64(number) + 1 << 40)
        if number.isMultiple(of: 10_000) { _ = log.directory.entry(of: "busy-1") }
      }
      #expect(log.directory.entry(of: "busy-1") != nil)
      let events = try await log.readAll().collect()
      #expect(events.map(\.stream) == ["busy-1"])
      #expect(try events.map { try $0.payload.get() } == [EventData.sample("{}").payload])
    }
  }

  @Test("streams and keys that a server has lost, which did not wait for its disk: they are made again")
  func lost() async throws {
    let database = try TestDatabase.required
    func sample(_ text: String) -> EventData {
      var event = EventData.sample(text)
      event.subject = "customer-1"
      return event
    }
    let expected: [StreamName: [String]] = [
      "order-1": ["2", "3"], "order-2": ["4"], "order-3": ["5"], "order-4": ["6"],
    ]
    try await database.withLog { log in
      try await log.append([.sample("0"), sample("1")], to: "order-1", expecting: .noStream)
      try await log.append([sample("1")], to: "order-3", expecting: .noStream)
      // Nothing is under way meanwhile.
      try await database.sql(
        """
        SET session_replication_role = replica;
        DELETE FROM eventstore.events;
        DELETE FROM eventstore.streams;
        DELETE FROM eventstore.data_keys;
        SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid();
        """)
      try await withThrowingTaskGroup { group in
        group.addTask { try await log.append([.sample("2"), sample("3")], to: "order-1", expecting: .any) }
        group.addTask { try await log.append([sample("4")], to: "order-2", expecting: .noStream) }
        try await group.waitForAll()
      }
      try await log.append([sample("5")], to: "order-3", expecting: .noStream)
      try await log.withTransaction { (transaction: borrowing Transaction) in
        _ = try await log.append([sample("6")], to: "order-4", expecting: .any, in: transaction)
      }
    }
    try await database.withLog { log in
      for (stream, texts) in expected {
        let found = try await log.read(stream).collect().map { try $0.payload.get() }
        #expect(found == texts.map { EventData.sample($0).payload }, "\(stream)")
      }
      let count = try await log.readAll().collect().count
      #expect(count == 5)
    }
  }

  @Test("a page with more keys than a process keeps")
  func keys() async throws {
    let database = try TestDatabase.required
    let count = 16_000
    try await database.withLog { log in
      for start in stride(from: 0, to: count, by: 1_000) {
        let events = (start..<start + 1_000).map { number in
          var event = EventData.sample("\(number)")
          event.subject = "customer-\(number)"
          return event
        }
        try await log.append(events, to: "order-1", expecting: .exact(start))
      }
    }
    let read = try await database.withLog({ $0.pageSize = count }) { try await $0.readAll().collect() }
    #expect(try read.map { try $0.payload.get() } == (0..<count).map { EventData.sample("\($0)").payload })
  }
}
