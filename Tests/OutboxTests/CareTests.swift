import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

/// What a review had found.
@Suite("Consumers, with care", .database, .timeLimit(.minutes(5)))
struct CareTests {
  private func made(_ count: Int = 1) -> [EventData] {
    (0..<count).map { _ in EventData(type: "made", payload: .json("{}")) }
  }

  private func untilEmpty() -> GroupConsumer.Options {
    var options = GroupConsumer.Options()
    options.endsWhenEmpty = true
    return options
  }

  @Test("a group with a delay that is stopped while a handler works and others wait: they come to the next consumer")
  func delayed() async throws {
    try await TestDatabase.required.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("late", policy: GroupPolicy(delay: 1)))
      try await log.append(made(), to: "a-1", expecting: .noStream)
      try await Task.sleep(for: .milliseconds(900))
      try await log.append(made(3), to: "b-1", expecting: .noStream)
      let handled = Mutex<[String]>([])
      let isWorking = Atomic<Bool>(false)
      let consumer = GroupConsumer(log, "late") { delivery in
        isWorking.store(true, ordering: .relaxed)
        // Heeds no cancellation.
        await Task { try? await Task.sleep(for: .milliseconds(1500)) }.value
        handled.withLock { $0.append("\(delivery.event.stream) \(delivery.event.version)") }
        return .ack
      }
      let running = Task { try await consumer.run() }
      try await eventually("it is at work") { isWorking.load(ordering: .relaxed) }
      running.cancel()
      try await running.value
      try await GroupConsumer(log, "late", options: untilEmpty()) { delivery in
        handled.withLock { $0.append("\(delivery.event.stream) \(delivery.event.version)") }
        return .ack
      }.run()
      let all = handled.withLock { $0.filter { $0.hasPrefix("b") } }
      #expect(all == ["b-1 1", "b-1 2", "b-1 3"])
    }
  }

  @Test("a seek forgets what dead letters held: retried afterwards, they come by themselves and move nobody's place")
  func heldAndSought() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append(made(4), to: "a-1", expecting: .noStream)
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup(
          "held",
          policy: GroupPolicy(retry: RetryPolicy(.fixed(0), attempts: 1), afterLastRetry: .parkAndHold, breaker: nil)))
      let seen = Mutex<[String]>([])
      let fails = Atomic<Bool>(true)
      let consumer = GroupConsumer(log, "held", options: untilEmpty()) { delivery in
        seen.withLock { $0.append("\(delivery.event.version)\(delivery.cause == .redrive ? " again" : "")") }
        return delivery.event.version == 2 && fails.load(ordering: .relaxed) ? .retry(reason: "bad") : .ack
      }
      try await consumer.run()
      try await groups.seek("held", to: .end)
      fails.store(false, ordering: .relaxed)
      #expect(try await groups.redrive("held", .all) == 1)
      try await consumer.run()
      #expect(seen.withLock { $0 } == ["1", "2", "2 again"])
      #expect(try await groups.status(of: "held").keysBehind == 0)
    }
  }

  @Test("epochs rise, whoever comes and goes and shares")
  func epochs() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all"))
      var options = GroupConsumer.Options()
      options.lease = .milliseconds(600)
      let last = Mutex<[String: Int64]>([:])
      let problems = Mutex<[String]>([])
      let count = Atomic<Int>(0)
      let consumers = (0..<3).map { _ in
        GroupConsumer(log, "all", options: options) { delivery in
          last.withLock { last in
            if let before = last[delivery.key], before > delivery.epoch {
              problems.withLock { $0.append("\(delivery.key): \(delivery.epoch) after \(before)") }
            }
            last[delivery.key] = delivery.epoch
          }
          count.add(1, ordering: .relaxed)
          return .ack
        }
      }
      for round in 0..<3 {
        try await withConsumers(Array(consumers.prefix(1 + round % 3))) {
          try await appendItems(log, streams: 30, each: 4, from: round * 4)
          try await eventually("handled") { count.load(ordering: .relaxed) >= 120 * (round + 1) }
          try await Task.sleep(for: .milliseconds(700))
        }
      }
      #expect(problems.withLock { $0 } == [])
      #expect(try await database.number("SELECT max(epoch) FROM eventstore.outbox_cursors") >= 3)
    }
  }

  @Test("a handler in a transaction that says nothing of a failed statement is found out, and no other is blamed")
  func swallows() async throws {
    let database = try TestDatabase.required
    try await database.sql("CREATE TABLE effects (position bigint PRIMARY KEY)")
    try await database.withLog { log in
      for stream in 0..<4 { try await log.append(made(2), to: try StreamName("a-\(stream)"), expecting: .noStream) }
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup("tx", policy: GroupPolicy(retry: RetryPolicy(.fixed(0.01), attempts: 2), breaker: nil)))
      let insert = Statement("INSERT INTO effects VALUES ($1::text::bigint)")
      try await GroupConsumer(log, "tx", transactions: .init(size: 10), options: untilEmpty()) {
        delivery, transaction in
        let event = delivery.event
        if event.stream == "a-2", event.version == 1 {
          _ = try? await transaction.execute(Statement("SELECT 1 / 0"))
          return .ack
        }
        try await transaction.execute(insert, Parameters(event.position.description))
        return .ack
      }.run()
      let parked = try await groups.parked(of: "tx").map { "\($0.stream) \($0.version)" }
      #expect(parked == ["a-2 1"])
      #expect(try await database.number("SELECT count(*) FROM effects") == 7)
    }
  }

  @Test("keys that Swift takes for one, and reasons and keys that no row can hold")
  func odd() async throws {
    try await TestDatabase.required.withLog { log in
      let (composed, decomposed) = (try StreamName("k-\u{E9}"), try StreamName("k-e\u{301}"))
      try await log.append(made(3), to: composed, expecting: .noStream)
      try await log.append(made(3), to: decomposed, expecting: .noStream)
      let long = String(repeating: "x", count: 5_000)
      try await log.append(
        [EventData(type: "made", payload: .json("{}"), metadata: Metadata(["customer": long]))], to: "k-long",
        expecting: .noStream)
      try await log.append(
        [
          EventData(
            type: "made", payload: .json("{}"), metadata: try Metadata(json: Array(#"{"customer":"a\u0000b"}"#.utf8)))
        ],
        to: "k-zero", expecting: .noStream)
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(retry: RetryPolicy(.fixed(0.01), attempts: 2), breaker: nil)
      for key in [PartitionKey.stream, .metadata("customer"), .none] {
        let name = "by-\(key)"
        try await groups.create(ConsumerGroup(name, key: key, policy: policy))
        let seen = Mutex<[String: Int]>([:])
        try await GroupConsumer(log, name, options: untilEmpty()) { delivery in
          seen.withLock { $0["\(delivery.event.position)", default: 0] += 1 }
          return .retry(after: .infinity > 1e308 && delivery.attempt > 5 ? 1 : nil, reason: "zero \0 and more")
        }.run()
        let counts = seen.withLock { $0 }
        #expect(counts.count == 8 && counts.values.allSatisfy { $0 == 2 }, "\(name)")
        #expect(try await groups.parked(of: name).count == 8, "\(name)")
      }
    }
  }
}
