import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Which events come when", .database, .timeLimit(.minutes(15)))
struct TimingTests {
  /// RFC 3339.
  private func later(_ seconds: Double) -> Metadata {
    Metadata([
      "deliverAfter": Date.now.addingTimeInterval(seconds).formatted(
        Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    ])
  }

  @Test(
    "an event's own time: the key waits for it, or passes it; also when another consumer goes on",
    arguments: [GroupPolicy.TimerPolicy.hold, .pass])
  func timers(how: GroupPolicy.TimerPolicy) async throws {
    try await TestDatabase.required.withLog { log in
      func event(_ metadata: Metadata = Metadata()) -> EventData {
        EventData(type: "made", payload: .json("{}"), metadata: metadata)
      }
      try await log.append([event(), event(later(1.5)), event(), event(later(-5))], to: "a-1", expecting: .noStream)
      try await log.append([event()], to: "b-1", expecting: .noStream)
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("timed", policy: GroupPolicy(timers: how)))
      let seen = Seen()
      let first = GroupConsumer(log, "timed") { delivery in
        seen.add(delivery)
        return .ack
      }
      try await withConsumers([first]) {
        try await eventually("those whose time has come") {
          let status = try await groups.status(of: "timed")
          return how == .hold
            ? status.keysBehind == 1 && seen.all.count == 2 : status.deferred == 1 && seen.all.count == 4
        }
      }
      #expect(
        seen.all.filter { $0.hasPrefix("a") } == (how == .hold ? ["a-1 1 1"] : ["a-1 1 1", "a-1 3 1", "a-1 4 1"]))
      let start = ContinuousClock.now
      try await GroupConsumer(log, "timed", options: untilEmpty()) { delivery in
        seen.add(delivery)
        return .ack
      }.run()
      let rest = seen.all.filter { $0.hasPrefix("a") }
      #expect(
        rest
          == (how == .hold
            ? ["a-1 1 1", "a-1 2 1", "a-1 3 1", "a-1 4 1"] : ["a-1 1 1", "a-1 3 1", "a-1 4 1", "a-1 2 1 timer"]))
      let took = start.duration(to: .now)
      #expect(took > .milliseconds(200))
    }
  }

  @Test("conflation: of what waits of a key, only the latest")
  func conflates() async throws {
    try await TestDatabase.required.withLog { log in
      try await append(log, "a-1", "made", "made", "made", "made", "made")
      try await append(log, "b-1", "made")
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(retry: RetryPolicy(.fixed(0.3), attempts: 5), breaker: nil, conflates: true)
      try await groups.create(ConsumerGroup("latest", policy: policy))
      let seen = Seen()
      let consumer = GroupConsumer(log, "latest") { delivery in
        seen.add(delivery)
        return delivery.event.version == 5 && delivery.attempt == 1 ? .retry(reason: "once") : .ack
      }
      try await withConsumers([consumer]) {
        try await eventually("the latest of each") { seen.all.contains("a-1 5 1") && seen.all.contains("b-1 1 1") }
        // It waits to be tried again, and something newer comes.
        try await append(log, "a-1", "made")
        try await eventually("the newer one") { seen.all.contains("a-1 6 1") }
        try await eventually("all") { try await groups.status(of: "latest").handled == 7 }
      }
      #expect(!seen.all.contains("a-1 5 2") && !seen.all.contains("a-1 2 1"))
      #expect(try await groups.status(of: "latest").keysBehind == 0)
    }
  }

  @Test("urgent events first, in order within a key and a lane; the others in the end")
  func prioritised() async throws {
    try await TestDatabase.required.withLog { log in
      for number in 0..<60 {
        try await append(log, try StreamName("a-\(number % 6)"), number % 5 == 0 ? "alarm.raised" : "made")
      }
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(
        retry: RetryPolicy(.fixed(0.01), attempts: 2), breaker: nil, priorities: [PriorityRule(types: ["alarm.*"])],
        ageing: 60)
      try await groups.create(ConsumerGroup("urgent", policy: policy))
      let types = Mutex<[(type: String, stream: String, version: Int)]>([])
      var options = untilEmpty()
      options.concurrency = 1
      try await GroupConsumer(log, "urgent", options: options) { delivery in
        let event = delivery.event
        // One of each lane fails: it comes back in its own.
        if delivery.attempt == 1, event.version == 3, event.stream == "a-0" || event.stream == "a-1" {
          return .retry(reason: "once")
        }
        types.withLock { $0.append((event.type, event.stream.description, event.version)) }
        #expect(delivery.key == event.stream.description)
        return .ack
      }.run()
      let all = types.withLock { $0 }
      #expect(all.count == 60)
      let alarms = all.indices.filter { all[$0].type == "alarm.raised" }
      #expect((alarms.dropLast(2).last ?? 99) < 16)
      for stream in 0..<6 {
        for type in ["alarm.raised", "made"] {
          let versions = all.filter { $0.stream == "a-\(stream)" && $0.type == type }.map(\.version)
          #expect(versions == versions.sorted())
        }
      }
      #expect(try await groups.status(of: "urgent").keysBehind == 0)
    }
  }
}
