import EventStore
import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@Suite("A server that is a standby", .timeLimit(.minutes(15)))
struct StandbyTests {
  @Test("is no place to read the whole log: it cannot tell what is decided; streams are read")
  func standby() async throws {
    try await IsolatedServer.with { server in
      let database = server.database
      try await database.withLog { log in try await log.append([.sample("{}")], to: "a-1", expecting: .noStream) }
      try await server.setStandby(true)
      // By itself a log goes to a primary.
      await #expect(throws: OpenError.self) { try await database.withLog { _ in } }
      try await database.withLog({
        $0.connection.connectionString += " target_session_attrs=any"
        $0.isReadOnly = true
        $0.subscriptionRetries = 1
      }) { log in
        #expect(try await log.read("a-1").collect().map(\.version) == [1])
        for sequence in [log.readAll(), log.subscribe()] {
          do {
            _ = try await sequence.first(1)
            Issue.record("a standby was read")
          } catch ReadError.unavailable(let reason) {
            #expect(reason.description.contains("standby"))
          }
        }
      }
      try await server.setStandby(false)
      let events = try await database.withLog { log in try await log.readAll().collect() }
      #expect(events.map(\.version) == [1])
    }
  }

  @Test("synchronous, and away: an append that gave up its wait is not told that it is safe; nothing is doubled")
  func unconfirmed() async throws {
    try await IsolatedServer.with { server in
      let database = server.database
      try await database.withLog({ $0.connection.statementTimeout = .seconds(2) }) { log in
        try await log.append([.sample("1")], to: "a-1", expecting: .noStream)
        try await server.waitForStandby("nobody")
        let late = EventData.sample("2")
        func append() async throws(AppendError) -> Appended {
          try await log.append([late], to: "a-1", expecting: .exact(1))
        }
        await #expect(throws: AppendError.self) {
          do throws(AppendError) {
            _ = try await append()
          } catch {
            if case .outcomeUnknown(let reason) = error { #expect(reason.code == .unconfirmed) }
            #expect(error.description.contains("not safe yet"))
            throw error
          }
        }
        // In a transaction of the caller's own, COMMIT says so.
        do {
          try await log.withTransaction { (transaction: borrowing Transaction) in
            _ = try await log.append([.sample("3")], to: "a-2", expecting: .noStream, in: transaction)
          }
          Issue.record("committed without a standby")
        } catch let error as PostgreSQLError {
          #expect(error.code == .unconfirmed)
        }
        // One that conflicts has written nothing, and is told so.
        do throws(AppendError) {
          _ = try await log.append([.sample("x")], to: "a-1", expecting: .noStream)
          Issue.record("two first events")
        } catch {
          if case .conflict = error {} else { Issue.record("a conflict is \(error)") }
        }
        let store = AggregateStore(log)
        do {
          try await store.update(Account.self, "1", createsIfAbsent: true) { try $0.deposit(1, note: "5") }
          Issue.record("an aggregate was told to be safe")
        } catch let error as AppendError {
          if case .outcomeUnknown(let reason) = error { #expect(reason.code == .unconfirmed) } else { throw error }
        }
        try await server.waitForStandby(nil)
        let again = try await append()
        #expect(again.wasDuplicate && again.firstVersion == 2)
        // What is said of one statement is not said of the next.
        try await log.append([.sample("4")], to: "a-1", expecting: .exact(2))
        let read = try await log.readAll().collect().filter { $0.stream.category == "a" }
        #expect(read.map(\.text) == ["1", "2", "3", "4"])
        #expect(try await store.load(Account.self, "1").version == 1)
      }
    }
  }
}
