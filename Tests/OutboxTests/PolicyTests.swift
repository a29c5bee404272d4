import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Policies of consumer groups", .database, .timeLimit(.minutes(15)))
struct PolicyTests {
  @Test("a filter of categories, type patterns and metadata; anything else is passed over, and no lag")
  func filters() async throws {
    try await TestDatabase.required.withLog { log in
      try await append(log, "account-1", "account.opened", "account.closed", "other", customer: "ada")
      try await append(log, "account-2", "account.opened", customer: "bob")
      try await append(log, "account-3", "account.opened")
      try await append(log, "order-1", "account.opened", customer: "ada")
      let groups = ConsumerGroups(log)
      let filter = GroupFilter(
        categories: ["account"], types: ["*.opened", "account.cl*"], metadata: ["customer": ["ada", "eve"]])
      let status = try await groups.create(ConsumerGroup("some", filter: filter))
      #expect(try await groups.lag(of: status).events == 4)
      #expect(try await groups.peek("some").map { "\($0.stream) \($0.version)" } == ["account-1 1", "account-1 2"])
      let seen = Seen()
      try await GroupConsumer(log, "some", options: untilEmpty()) { delivery in
        seen.add(delivery)
        return .ack
      }.run()
      #expect(seen.all == ["account-1 1 1", "account-1 2 1"])
      let after = try await groups.status(of: "some")
      #expect(try await groups.lag(of: after).events == 0)
    }
  }

  @Test("ordered by a metadata key: one customer's events of several streams, one after the other")
  func byMetadata() async throws {
    try await TestDatabase.required.withLog { log in
      for turn in 0..<20 {
        try await append(log, try StreamName("a-\(turn)"), "made", customer: "ada")
        try await append(log, try StreamName("b-\(turn)"), "made", customer: "bob")
      }
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(retry: RetryPolicy(.fixed(0.02), attempts: 3), breaker: nil)
      try await groups.create(ConsumerGroup("customers", key: .metadata("customer"), policy: policy))
      let seen = Seen()
      let running = Mutex<[String: Int]>([:])
      let most = Mutex(0)
      try await GroupConsumer(log, "customers", options: untilEmpty()) { delivery in
        let count = running.withLock { running in
          running[delivery.key, default: 0] += 1
          return running[delivery.key] ?? 0
        }
        most.withLock { $0 = max($0, count) }
        try await Task.sleep(for: .milliseconds(1))
        running.withLock { $0[delivery.key, default: 0] -= 1 }
        if delivery.event.stream == "a-5", delivery.attempt < 3 { return .retry(reason: "not yet") }
        seen.add(delivery)
        return .ack
      }.run()
      let mostAtOnce = most.withLock { $0 }
      #expect(mostAtOnce == 1)
      let ada = seen.all.filter { $0.hasPrefix("a-") }.map { $0.split(separator: " ")[0] }
      #expect(ada == (0..<20).map { "a-\($0)" })
      #expect(seen.all.filter { $0.hasPrefix("b-") }.count == 20)
    }
  }

  @Test("expiry, throttling, a rate of the group and of a key")
  func limits() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await append(log, "a-1", "made", "made", "made", "made", "made", "made")
      try await append(log, "b-1", "made")
      let groups = ConsumerGroups(log)
      let seen = Seen()
      // Each key so fast.
      try await groups.create(ConsumerGroup("keys", policy: GroupPolicy(ratePerKey: 10)))
      try await GroupConsumer(log, "keys", options: untilEmpty()) { delivery in
        seen.add(delivery)
        return .ack
      }.run()
      let a = zip(seen.all, seen.times).filter { $0.0.hasPrefix("a") }.map(\.1)
      #expect(seen.all.count == 7 && a[0].duration(to: a[5]) > .milliseconds(480))
      #expect(seen.all.prefix(2).contains("b-1 1 1"))
      // The group so fast, after a first few.
      let all = Seen()
      try await groups.create(ConsumerGroup("all", policy: GroupPolicy(rate: 10)))
      let start = ContinuousClock.now
      try await GroupConsumer(log, "all", options: untilEmpty()) { delivery in
        all.add(delivery)
        return .ack
      }.run()
      let took = start.duration(to: .now)
      #expect(all.all.count == 7 && took > .milliseconds(80))
      // Throttled: no attempt is counted.
      try await groups.create(
        ConsumerGroup("throttled", policy: GroupPolicy(retry: RetryPolicy(.fixed(0), attempts: 1))))
      let throttled = Seen()
      try await GroupConsumer(log, "throttled", options: untilEmpty()) { delivery in
        throttled.add(delivery)
        return delivery.event.stream == "b-1" && throttled.all.filter { $0.hasPrefix("b") }.count < 4
          ? .throttle(after: 0.01) : .ack
      }.run()
      #expect(throttled.all.filter { $0.hasPrefix("b") } == ["b-1 1 1", "b-1 1 1", "b-1 1 1", "b-1 1 1"])
      #expect(try await groups.status(of: "throttled").parked == 0)
      // Too old.
      try await database.sql(
        "ALTER TABLE eventstore.events DISABLE TRIGGER ALL; UPDATE eventstore.events SET recorded_at = recorded_at - interval '1 hour'"
      )
      try await append(log, "c-1", "made")
      try await groups.create(ConsumerGroup("fresh", policy: GroupPolicy(expiry: 60)))
      let (fresh, stale) = (Seen(), Seen())
      var options = untilEmpty()
      options.onExpiry = { stale.add($0) }
      try await GroupConsumer(log, "fresh", options: options) { delivery in
        fresh.add(delivery)
        return .ack
      }.run()
      #expect(fresh.all == ["c-1 1 1"] && stale.all.count == 7)
    }
  }

  @Test("expiry in batches with several events of a key: what is too old is passed over, the rest is handled")
  func expiredInBatches() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await append(log, "a-1", "made", "made", "made")
      try await append(log, "b-1", "made", "made")
      try await database.sql(
        "ALTER TABLE eventstore.events DISABLE TRIGGER ALL; UPDATE eventstore.events SET recorded_at = recorded_at - interval '1 hour'"
      )
      try await append(log, "a-1", "made", "made")
      try await append(log, "c-1", "made")
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup(
          "fresh", policy: GroupPolicy(retry: RetryPolicy(.fixed(0.01), attempts: 3), expiry: 60, breaker: nil)))
      let (fresh, stale) = (Seen(), Seen())
      var options = untilEmpty()
      options.onExpiry = { stale.add($0) }
      try await GroupConsumer(log, "fresh", batches: .init(size: 100, window: 0.1, perKey: 100), options: options) {
        deliveries in
        for delivery in deliveries { fresh.add(delivery) }
        if deliveries.contains(where: { $0.attempt == 1 && $0.event.version == 4 }) {
          throw DeliveryFailure(.retry(reason: "once"))
        }
        return deliveries.map { _ in .ack }
      }.run()
      #expect(Set(stale.all) == ["a-1 1 1", "a-1 2 1", "a-1 3 1", "b-1 1 1", "b-1 2 1"] && stale.all.count == 5)
      #expect(!fresh.all.contains { $0.hasPrefix("b-1") || $0.hasPrefix("a-1 1") || $0.hasPrefix("a-1 3") })
      // The first that was not too old is the one that has failed.
      #expect(fresh.all.contains("a-1 4 2") && fresh.all.contains("a-1 5 1") && !fresh.all.contains("a-1 5 2"))
      let status = try await groups.status(of: "fresh")
      #expect(status.handled == 8 && status.keysBehind == 0 && status.parked == 0)
    }
  }

  @Test(
    "a time-out cancels the handler and counts as a failed try; one that heeds nothing is left alone; extending helps")
  func timesOut() async throws {
    try await TestDatabase.required.withLog { log in
      try await append(log, "a-1", "made", "made")
      try await append(log, "b-1", "made")
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup(
          "hasty", policy: GroupPolicy(retry: RetryPolicy(.fixed(0), attempts: 2), timeout: 0.2, breaker: nil)))
      let seen = Seen()
      try await GroupConsumer(log, "hasty", options: untilEmpty()) { delivery in
        seen.add(delivery)
        if delivery.event.stream == "a-1", delivery.event.version == 1 { try await Task.sleep(for: .seconds(60)) }
        if delivery.event.stream == "b-1" {
          delivery.extend(by: 2)
          try await Task.sleep(for: .milliseconds(500))
        }
        return .ack
      }.run()
      #expect(seen.all.filter { $0.hasPrefix("a") } == ["a-1 1 1", "a-1 1 2", "a-1 2 1"])
      #expect(seen.all.filter { $0.hasPrefix("b") } == ["b-1 1 1"])
      let letter = try await groups.parked(of: "hasty").first
      #expect(letter?.problem.contains("did not end within 0.2 seconds") == true)
    }
  }

  @Test("a breaker: failures in a row rest the consumer, and no row is written for every key")
  func breaks() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      for number in 0..<200 { try await append(log, try StreamName("a-\(number)"), "made") }
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(
        retry: RetryPolicy(.fixed(0.05), attempts: 1000), breaker: CircuitBreaker(failures: 5, pause: 0.5))
      try await groups.create(ConsumerGroup("weak", policy: policy))
      let calls = Atomic<Int>(0)
      let isAway = Atomic<Bool>(true)
      var options = GroupConsumer.Options()
      options.concurrency = 4
      let consumer = GroupConsumer(log, "weak", options: options) { _ in
        calls.add(1, ordering: .relaxed)
        return isAway.load(ordering: .relaxed) ? .retry(reason: "it is away") : .ack
      }
      try await withConsumers([consumer]) {
        try await Task.sleep(for: .seconds(1))
        let many = calls.load(ordering: .relaxed)
        #expect(many > 0 && many < 40)
        isAway.store(false, ordering: .relaxed)
        try await eventually("all") { try await groups.status(of: "weak").handled == 200 }
      }
      #expect(try await database.number("SELECT count(*) FROM eventstore.outbox_keys") == 0)
    }
  }

  @Test("what makes no sense is refused with words")
  func refused() async throws {
    try await TestDatabase.required.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("one"))
      await #expect(throws: OutboxError.exists(group: "one")) { try await groups.create(ConsumerGroup("one")) }
      await #expect(throws: OutboxError.notFound(group: "two")) { try await groups.status(of: "two") }
      await #expect(throws: OutboxError.notFound(group: "two")) {
        try await GroupConsumer(log, "two") { _ in .ack }.run()
      }
      let wrong = [
        ConsumerGroup(""), ConsumerGroup("a\nb"), ConsumerGroup("x", key: .metadata("")),
        ConsumerGroup("x", filter: GroupFilter(types: [""])), ConsumerGroup("x", policy: GroupPolicy(timeout: -1)),
        ConsumerGroup("x", policy: GroupPolicy(delay: -1)), ConsumerGroup("x", policy: GroupPolicy(delay: .nan)),
        ConsumerGroup("x", policy: GroupPolicy(rate: 0)), ConsumerGroup("x", policy: GroupPolicy(ratePerKey: -2)),
        ConsumerGroup("x", policy: GroupPolicy(retry: RetryPolicy(.fixed(-1)))),
        ConsumerGroup("x", policy: GroupPolicy(retry: RetryPolicy(.list([])))),
        ConsumerGroup("x", policy: GroupPolicy(retry: RetryPolicy(.exponential(first: 1, factor: 0.5, most: 10)))),
        ConsumerGroup("x", policy: GroupPolicy(retry: RetryPolicy(.exponential(first: 10, factor: 2, most: 1)))),
        ConsumerGroup("x", policy: GroupPolicy(retry: RetryPolicy(.fixed(1), attempts: 0))),
        ConsumerGroup("x", policy: GroupPolicy(breaker: CircuitBreaker(failures: 0, pause: 1))),
      ]
      for group in wrong {
        await #expect(throws: OutboxError.self, "\(group)") { try await groups.create(group) }
      }
      #expect(try await groups.all().map(\.group.name) == ["one"])
    }
  }
}
