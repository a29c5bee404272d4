import EventStore
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
}
