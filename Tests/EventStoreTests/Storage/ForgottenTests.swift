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
