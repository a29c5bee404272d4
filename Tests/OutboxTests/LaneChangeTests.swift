import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Priorities that change", .database, .timeLimit(.minutes(15)))
struct LaneChangeTests {
  private let old = GroupPolicy(retry: RetryPolicy(.fixed(0.1), attempts: 1_000), breaker: nil)
  private var new: GroupPolicy {
    var policy = old
    policy.priorities = [PriorityRule(types: ["alarm.*"])]
    return policy
  }

  @Test("not while keys are behind, and then nothing has changed; once they have caught up, with every event there")
  func behind() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      for stream in 0..<3 {
        for _ in 0..<4 { try await append(log, try StreamName("a-\(stream)"), "made", "alarm.raised") }
      }
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all", policy: old))
      let isMended = Atomic<Bool>(false)
      let seen = Seen()
      let consumer = GroupConsumer(log, "all") { delivery in
        guard isMended.load(ordering: .relaxed) || delivery.event.stream == "a-0" else { return .retry(reason: "no") }
        seen.add(delivery)
        return .ack
      }
      try await withConsumers([consumer]) {
        try await eventually("two are behind") {
          let status = try await groups.status(of: "all")
          return status.keysBehind == 2 && status.handled == 8
        }
        let error = await #expect(throws: OutboxError.self) { try await groups.update("all", new) }
        #expect(error?.description.contains("2 now, 0 of them held") == true)
        #expect(try await groups.status(of: "all").group.policy == old)
        // Anything else may change.
        var hasty = old
        hasty.retry = RetryPolicy(.fixed(0.01), attempts: 1_000)
        try await groups.update("all", hasty)
        isMended.store(true, ordering: .relaxed)
        try await eventually("they have caught up") {
          let status = try await groups.status(of: "all")
          return status.handled == 24 && status.keysBehind == 0
        }
        let epoch = "SELECT max(epoch) FROM eventstore.outbox_positions"
        let before = try await database.number(epoch)
        try await groups.update("all", new)
        // Who knows the former lanes writes nothing any more.
        #expect(try await database.number(epoch) > before)
        try await append(log, "a-0", "made", "alarm.raised")
        try await eventually("the new ones") { try await groups.status(of: "all").handled == 26 }
      }
      for stream in 0..<3 {
        let versions = Set(seen.all.filter { $0.hasPrefix("a-\(stream) ") }.map { $0.split(separator: " ")[1] })
        #expect(versions.count == (stream == 0 ? 10 : 8))
      }
    }
  }

  @Test("to and fro while consumers are at work and events fail: every event comes, those of a key and type in order")
  func whileBusy() async throws {
    try await TestDatabase.required.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all", policy: old))
      let done = Mutex<[String: [Int]]>([:])
      let consumers = (0..<2).map { _ in
        GroupConsumer(log, "all") { delivery in
          let event = delivery.event
          if delivery.attempt == 1, event.version.isMultiple(of: 7) { return .retry(after: 0.005, reason: "once") }
          done.withLock { done in
            let key = "\(event.stream) \(event.type)"
            if done[key]?.contains(event.version) != true { done[key, default: []].append(event.version) }
          }
          return .ack
        }
      }
      try await withConsumers(consumers) {
        for round in 0..<30 {
          for stream in 0..<20 { try await append(log, try StreamName("a-\(stream)"), "made", "alarm.raised") }
          // Refused, as often as not.
          try? await groups.update("all", round.isMultiple(of: 2) ? new : old)
        }
        try await eventually("all of them", within: .seconds(60)) {
          let status = try await groups.status(of: "all")
          let lag = try await groups.lag(of: status)
          return status.keysBehind == 0 && lag.events == 0
        }
      }
      let all = done.withLock { $0 }
      #expect(all.count == 40)
      for versions in all.values { #expect(versions.count == 30 && versions == versions.sorted()) }
    }
  }
}
