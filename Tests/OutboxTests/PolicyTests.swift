import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Policies of consumer groups", .database, .timeLimit(.minutes(3)))
struct PolicyTests {
  /// What a handler was given: `stream version attempt cause`, with the time.
  private final class Seen: Sendable {
    private let deliveries = Mutex<[(text: String, at: ContinuousClock.Instant)]>([])
    func add(_ delivery: Delivery) {
      let cause = delivery.cause.map { " \($0.rawValue)" } ?? ""
      let text = "\(delivery.event.stream) \(delivery.event.version) \(delivery.attempt)\(cause)"
      deliveries.withLock { $0.append((text, .now)) }
    }
    var all: [String] { deliveries.withLock { $0.map(\.text) } }
    var times: [ContinuousClock.Instant] { deliveries.withLock { $0.map(\.at) } }
  }

  private func untilEmpty() -> GroupConsumer.Options {
    var options = GroupConsumer.Options()
    options.endsWhenEmpty = true
    options.endsWhenStopped = true
    return options
  }

  private func append(_ log: PostgreSQLEventLog, _ stream: StreamName, _ types: String..., customer: String? = nil)
    async throws
  {
    try await log.append(
      types.map {
        EventData(
          type: $0, payload: .json("{}"), metadata: Metadata(customer.map { ["customer": $0] } ?? [:]))
      }, to: stream, expecting: .any)
  }

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

  @Test("park and hold: later events of the key wait; retry brings it back in order; skip passes it over")
  func holds() async throws {
    try await TestDatabase.required.withLog { log in
      try await append(log, "a-1", "made", "made", "made", "made")
      try await append(log, "b-1", "made", "made")
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(
        retry: RetryPolicy(.fixed(0.01), attempts: 2), afterLastRetry: .parkAndHold, breaker: nil)
      try await groups.create(ConsumerGroup("held", policy: policy))
      let seen = Seen()
      let fails = Atomic<Bool>(true)
      let consumer = GroupConsumer(log, "held") { delivery in
        seen.add(delivery)
        let isBad = delivery.event.stream == "a-1" && [2, 3].contains(delivery.event.version)
        return isBad && fails.load(ordering: .relaxed) ? .retry(reason: "bad") : .ack
      }
      try await withConsumers([consumer]) {
        try await eventually("it is held") { try await groups.status(of: "held").keysHeld == 1 }
        try await append(log, "a-1", "made")
        try await eventually("others go on") { seen.all.contains("b-1 2 1") }
        #expect(seen.all.filter { $0.hasPrefix("a-1") } == ["a-1 1 1", "a-1 2 1", "a-1 2 2"])
        let letters = try await groups.parked(of: "held")
        #expect(letters.map(\.version) == [2] && letters[0].holdsKey && letters[0].attempts == 2)
        // Skipped: the next one fails, too.
        #expect(try await groups.skipParked("held", .positions([letters[0].position])) == 1)
        try await eventually("held again") { try await groups.parked(of: "held").map(\.version) == [3] }
        fails.store(false, ordering: .relaxed)
        #expect(try await groups.redrive("held", .all) == 1)
        try await eventually("all of it") { seen.all.contains("a-1 5 1") }
      }
      #expect(
        seen.all.filter { $0.hasPrefix("a-1") } == [
          "a-1 1 1", "a-1 2 1", "a-1 2 2", "a-1 3 1", "a-1 3 2", "a-1 3 1", "a-1 4 1", "a-1 5 1",
        ])
      let status = try await groups.status(of: "held")
      #expect(status.keysBehind == 0 && status.parked == 0 && status.deferred == 0)
      #expect(try await groups.actions(on: "held").map(\.action) == ["redrive", "skip"])
    }
  }

  @Test("a held key survives its consumer: the next one keeps it held, and gives it out in order when it is retried")
  func heldAcross() async throws {
    try await TestDatabase.required.withLog { log in
      try await append(log, "a-1", "made", "made", "made")
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(
        retry: RetryPolicy(.fixed(0.01), attempts: 1), afterLastRetry: .parkAndHold, breaker: nil)
      try await groups.create(ConsumerGroup("held", policy: policy))
      let seen = Seen()
      let fails = Atomic<Bool>(true)
      let consumer = GroupConsumer(log, "held", options: untilEmpty()) { delivery in
        seen.add(delivery)
        return delivery.event.version == 1 && fails.load(ordering: .relaxed) ? .retry(reason: "bad") : .ack
      }
      try await consumer.run()
      try await append(log, "a-1", "made")
      try await consumer.run()
      #expect(seen.all == ["a-1 1 1"])
      fails.store(false, ordering: .relaxed)
      try await groups.redrive("held", .all)
      try await consumer.run()
      #expect(seen.all == ["a-1 1 1", "a-1 1 1", "a-1 2 1", "a-1 3 1", "a-1 4 1"])
    }
  }

  @Test("dead letters: kinds, retry with the cause said, a key, purge by age")
  func parked() async throws {
    try await TestDatabase.required.withLog { log in
      for number in 0..<6 { try await append(log, try StreamName("a-\(number)"), "made", "made") }
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("some"))
      let seen = Seen()
      let fails = Atomic<Bool>(true)
      let consumer = GroupConsumer(log, "some", options: untilEmpty()) { delivery in
        seen.add(delivery)
        guard fails.load(ordering: .relaxed), delivery.event.version == 1 else { return .ack }
        if delivery.event.stream == "a-0" { throw DeliveryFailure(.park(reason: "no such customer")) }
        return .park(reason: "order 4711\(delivery.event.stream.id) is unknown")
      }
      try await consumer.run()
      let kinds = try await groups.kindsOfParked(of: "some")
      #expect(kinds.map(\.count) == [5, 1])
      #expect(try await groups.parked(of: "some", .fingerprint(kinds[1].fingerprint)).map(\.stream) == ["a-0"])
      #expect(try await groups.parked(of: "some", .key("a-3")).count == 1)
      await #expect(throws: OutboxError.notParked(group: "some", Position("999") ?? .start)) {
        try await groups.redrive("some", .positions([Position("999") ?? .start]))
      }
      fails.store(false, ordering: .relaxed)
      #expect(try await groups.redrive("some", .fingerprint(kinds[0].fingerprint), rate: 1000) == 5)
      try await consumer.run()
      let again = seen.all.filter { $0.hasSuffix("redrive") }.sorted()
      #expect(again == (1...5).map { "a-\($0) 1 1 redrive" })
      #expect(try await groups.purgeParked("some", parkedBefore: .distantPast) == 0)
      #expect(try await groups.purgeParked("some", parkedBefore: .distantFuture) == 1)
      let status = try await groups.status(of: "some")
      #expect(status.parked == 0 && status.deferred == 0)
    }
  }

  @Test("stop: the group stops before the event, says why, and goes on after it was resumed")
  func stops() async throws {
    try await TestDatabase.required.withLog { log in
      try await append(log, "a-1", "made", "made", "made")
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup("strict", policy: GroupPolicy(retry: RetryPolicy(.fixed(0), attempts: 2), afterLastRetry: .stop)))
      let seen = Seen()
      let fails = Atomic<Bool>(true)
      let consumer = GroupConsumer(log, "strict", options: untilEmpty()) { delivery in
        seen.add(delivery)
        return delivery.event.version == 2 && fails.load(ordering: .relaxed) ? .retry(reason: "bad") : .ack
      }
      do {
        try await consumer.run()
        Issue.record("it did not stop")
      } catch let OutboxError.stopped(_, failure) {
        #expect(failure.version == 2 && failure.problem.contains("bad"))
      }
      #expect(try await groups.status(of: "strict").state == .stopped)
      fails.store(false, ordering: .relaxed)
      try await groups.resume("strict")
      try await consumer.run()
      #expect(seen.all == ["a-1 1 1", "a-1 2 1", "a-1 2 2", "a-1 2 2", "a-1 3 1"])
      #expect(try await groups.status(of: "strict").handled == 3)
    }
  }

  @Test("pause and resume; seek to the beginning, the end, a position; a changed policy reaches a running consumer")
  func operated() async throws {
    try await TestDatabase.required.withLog { log in
      try await append(log, "a-1", "made", "made")
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("one"), from: .end)
      let seen = Seen()
      let consumer = GroupConsumer(log, "one") { delivery in
        seen.add(delivery)
        return .ack
      }
      try await withConsumers([consumer]) {
        try await append(log, "a-1", "made")
        try await eventually("what came after the end") { seen.all == ["a-1 3 1"] }
        try await groups.pause("one")
        try await Task.sleep(for: .milliseconds(1_500))
        try await append(log, "a-1", "made")
        try await Task.sleep(for: .milliseconds(300))
        #expect(seen.all.count == 1)
        #expect(try await groups.status(of: "one").state == .paused)
        try await groups.resume("one")
        try await eventually("it goes on") { seen.all.count == 2 }
        try await groups.seek("one", to: .beginning)
        try await eventually("all again") { seen.all.suffix(4) == ["a-1 1 1", "a-1 2 1", "a-1 3 1", "a-1 4 1"] }
        let end = try await groups.lag(of: groups.status(of: "one")).end
        try await groups.seek("one", to: .after(Position("\((Int(end.description) ?? 0) - 1)") ?? .start))
        try await eventually("the last one again") { seen.all.count == 7 && seen.all.last == "a-1 4 1" }
        await #expect(throws: OutboxError.self) {
          try await groups.seek("one", to: .after(Position("99999") ?? .start))
        }
        try await groups.update("one", GroupPolicy(delay: 1))
        try await Task.sleep(for: .milliseconds(1_500))
        let start = ContinuousClock.now
        try await append(log, "a-1", "made")
        try await eventually("a second later") { seen.all.count == 8 }
        let waited = start.duration(to: .now)
        #expect(waited > .milliseconds(900))
      }
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

@Suite("Deliveries to pull, and parts of the log once more", .database, .timeLimit(.minutes(2)))
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
