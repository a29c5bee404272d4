import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Deliveries to pull, and parts of the log once more", .database, .timeLimit(.minutes(15)))
struct PullTests {
  @Test("a sequence of deliveries: several at a time, answered in any order; one without an answer comes again")
  func pulls() async throws {
    try await TestDatabase.required.withLog { log in
      try await appendItems(log, streams: 4, each: 3)
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("pull"))
      let seen = try await GroupConsumer.withDeliveries(log, "pull") { deliveries in
        var seen: [String] = []
        var pending: [PendingDelivery] = []
        var isDropped = false
        for await delivery in deliveries {
          let event = delivery.event
          if event.stream == "item-2", event.version == 2, !isDropped {
            // Nothing is said of it.
            isDropped = true
            continue
          }
          seen.append("\(event.stream) \(event.version)")
          pending.append(delivery)
          if pending.count == 4 || seen.count > 8 {
            for one in pending.reversed() { await one.finish(.ack) }
            pending = []
          }
          if seen.count == 12 { break }
        }
        return seen
      }
      for stream in 0..<4 {
        #expect(seen.filter { $0.hasPrefix("item-\(stream)") } == (1...3).map { "item-\(stream) \($0)" })
      }
      let status = try await groups.status(of: "pull")
      #expect(status.handled == 12 && status.members == 0)
      await #expect(throws: OutboxError.notFound(group: "none")) {
        try await GroupConsumer.withDeliveries(log, "none") { deliveries in for await _ in deliveries {} }
      }
    }
  }

  @Test("a part of the log once more, said so, while the group goes on; a range that makes no sense is refused")
  func replays() async throws {
    try await TestDatabase.required.withLog { log in
      try await appendItems(log, streams: 5, each: 4)
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("some"))
      let ledger = Ledger()
      let replayed = Mutex<[Int64]>([])
      var options = GroupConsumer.Options()
      options.endsWhenEmpty = true
      let consumer = GroupConsumer(log, "some", options: options) { delivery in
        ledger.begin(delivery)
        if delivery.cause == .replay {
          replayed.withLock { $0.append(Int64(delivery.event.position.description) ?? 0) }
        }
        ledger.end(delivery, isOver: true)
        return .ack
      }
      await #expect(throws: OutboxError.self) {
        try await groups.replay("some", after: .start, upTo: Position("5") ?? .start)
      }
      try await consumer.run()
      let range = (Position("4") ?? .start, Position("12") ?? .start)
      #expect(try await groups.replay("some", after: range.0, upTo: range.1, isDryRun: true) == 8)
      #expect(try await groups.replay("some", after: range.0, upTo: range.1) == 8)
      await #expect(throws: OutboxError.self) { try await groups.replay("some", after: range.1, upTo: range.0) }
      try await consumer.run()
      let again = replayed.withLock { $0 }
      #expect(again.sorted() == Array(5...12))
      #expect(ledger.problems == [])
      let status = try await groups.status(of: "some")
      #expect(status.handled == 28 && status.deferred == 0)
    }
  }
}
