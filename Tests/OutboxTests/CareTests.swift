import EventStore
import FoundationEssentials
import Logging
import Outbox
import PostgreSQL
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

/// What a review had found.
@Suite("Consumers, with care", .database, .timeLimit(.minutes(15)))
struct CareTests {
  private func made(_ count: Int = 1) -> [EventData] {
    (0..<count).map { _ in EventData(type: "made", payload: .json("{}")) }
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

  @Test("an append that is still open: what comes after it waits, and it is not passed over")
  func openAppend() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await ConsumerGroups(log).create(ConsumerGroup("all"))
      let seen = Seen()
      let consumer = GroupConsumer(log, "all") { delivery in
        seen.add(delivery)
        return .ack
      }
      try await withConsumers([consumer]) {
        try await log.append(made(), to: "a-1", expecting: .noStream)
        try await eventually("the first") { seen.all == ["a-1 1 1"] }
        try await log.withTransaction { transaction in
          try await log.append(made(), to: "b-1", expecting: .noStream, in: transaction)
          try await log.append(made(), to: "c-1", expecting: .noStream)
          try await Task.sleep(for: .milliseconds(800))
          #expect(seen.all == ["a-1 1 1"])
        }
        try await eventually("both") { seen.all.count == 3 }
      }
      #expect(Set(seen.all) == ["a-1 1 1", "b-1 1 1", "c-1 1 1"])
      #expect(try await ConsumerGroups(log).status(of: "all").handled == 3)
    }
  }

  @Test("a group that is removed while it is consumed: its consumer ends, and says so")
  func removed() async throws {
    try await TestDatabase.required.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("gone"))
      try await appendItems(log, streams: 5, each: 2)
      let handled = Atomic<Int>(0)
      let running = Task {
        try await GroupConsumer(log, "gone") { _ in
          handled.add(1, ordering: .relaxed)
          return .ack
        }.run()
      }
      try await eventually("it is at work") { handled.load(ordering: .relaxed) == 10 }
      try await groups.delete("gone")
      await #expect(throws: OutboxError.notFound(group: "gone")) { try await running.value }
    }
  }

  @Test("a handler that heeds nothing: others go on past it; where all are such, the consumer ends and says so")
  func neverReturns() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append(made(), to: "stuck-1", expecting: .noStream)
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(retry: RetryPolicy(.fixed(60), attempts: 2), timeout: 0.1, breaker: nil)
      try await groups.create(ConsumerGroup("some", policy: policy))
      try await groups.create(ConsumerGroup("alone", policy: policy))
      let seen = Seen()
      let handler: @Sendable (Delivery) async throws -> Disposition = { delivery in
        // Twelve seconds, whatever is cancelled.
        if delivery.event.stream == "stuck-1" { await Task { try? await Task.sleep(for: .seconds(12)) }.value }
        seen.add(delivery)
        return .ack
      }
      var options = GroupConsumer.Options()
      options.concurrency = 1
      let alone = Task { [options] in try await GroupConsumer(log, "alone", options: options, handler: handler).run() }
      options.concurrency = 4
      try await withConsumers([GroupConsumer(log, "some", options: options, handler: handler)]) {
        try await eventually("it was tried and failed") { try await groups.status(of: "some").keysBehind == 1 }
        try await appendItems(log, streams: 3, each: 2)
        try await eventually("others are handled") { try await groups.status(of: "some").handled == 6 }
      }
      #expect(!seen.all.contains { $0.hasPrefix("stuck") })
      await #expect(throws: OutboxError.handlersStuck(group: "alone", count: 1)) { try await alone.value }
    }
  }

  @Test("a batch: what is missing of the answers comes again; what is thrown counts for the first of each key")
  func batches() async throws {
    try await TestDatabase.required.withLog { log in
      try await appendItems(log, streams: 4, each: 3)
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup("batches", policy: GroupPolicy(retry: RetryPolicy(.fixed(0.01), attempts: 3), breaker: nil)))
      let batches = Mutex<[[String]]>([])
      try await GroupConsumer(log, "batches", batches: .init(size: 6, perKey: 3), options: untilEmpty()) { deliveries in
        let number = batches.withLock { batches in
          batches.append(deliveries.map { "\($0.event.stream) \($0.event.version) \($0.attempt)" })
          return batches.count
        }
        if number == 1 { throw DeliveryFailure(.retry(reason: "all of it")) }
        // Half of them are answered.
        if number == 2 { return Array(repeating: .ack, count: deliveries.count / 2) }
        return deliveries.map { _ in .ack }
      }.run()
      let all = batches.withLock { $0 }
      #expect(all.contains { $0.count > 1 } && all.allSatisfy { $0.count <= 6 })
      // In the batch that was thrown away the first of each key has failed once, the others not at all.
      let first = try #require(all.first)
      for stream in Set(first.map { $0.split(separator: " ")[0] }) {
        let versions = first.filter { $0.hasPrefix(stream + " ") }.map { String($0.split(separator: " ")[1]) }
        #expect(all.dropFirst().contains { $0.contains("\(stream) \(versions[0]) 2") })
        for version in versions.dropFirst() { #expect(!all.contains { $0.contains("\(stream) \(version) 2") }) }
      }
      let status = try await groups.status(of: "batches")
      #expect(status.handled == 12 && status.parked == 0 && status.keysBehind == 0)
    }
  }

  @Test("a service that shuts down finishes what its handlers have, and hands its shards back at once")
  func shutsDown() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await appendItems(log, streams: 1, each: 3)
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all"))
      let seen = Seen()
      let isAtWork = Atomic<Bool>(false)
      let consumer = GroupConsumer(log, "all") { delivery in
        isAtWork.store(true, ordering: .relaxed)
        try await Task.sleep(for: .milliseconds(600))
        seen.add(delivery)
        return .ack
      }
      let services = ServiceGroup(services: [consumer], logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
      let running = Task { try await services.run() }
      try await eventually("a handler has something") { isAtWork.load(ordering: .relaxed) }
      await services.triggerGracefulShutdown()
      try await running.value
      // The one that was under way, to its end; no other was begun.
      #expect(seen.all == ["item-0 1 1"])
      #expect(try await groups.status(of: "all").handled == 1)
      #expect(try await groups.members(of: "all") == [])
      #expect(try await database.number("SELECT count(*) FROM eventstore.outbox_cursors WHERE member IS NOT NULL") == 0)
    }
  }

  @Test("what is written down of a failure holds nothing of a payload that a decoder has choked on")
  func words() async throws {
    struct Wrong: Decodable { let amount: Int }
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append(
        [EventData(type: "made", payload: .json("{\"amount\":\"secret-4711\"}"))], to: "a-1", expecting: .noStream)
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup("decoding", policy: GroupPolicy(retry: RetryPolicy(.fixed(0), attempts: 2), breaker: nil)))
      try await GroupConsumer(log, "decoding", options: untilEmpty()) { delivery in
        let payload = try delivery.event.payload.get()
        _ = try JSONDecoder().decode(Wrong.self, from: Data(payload.bytes))
        return .ack
      }.run()
      let problem = try #require(try await groups.parked(of: "decoding").first?.problem)
      #expect(problem == "DecodingError")
    }
  }

  @Test("cursors are joined only while both are at the epochs that their owner knows")
  func staleMerge() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in _ = try await ConsumerGroups(log).create(ConsumerGroup("all")) }
    let half = "(repeat('1', 128) || repeat('0', 128))::bit(256)"
    try await database.sql(
      "SELECT eventstore.outbox_split(cursor_id, epoch, \(half), NULL) FROM eventstore.outbox_cursors")
    let shards = "SELECT string_agg(shards::text, ' ' ORDER BY cursor_id) FROM eventstore.outbox_cursors"
    let before = try await database.column(shards, as: String.self)
    for (one, other) in [(0, 1), (1, 0), (1, 1)] {
      let error = await #expect(throws: PostgreSQLError.self) {
        try await database.sql(
          """
          SELECT eventstore.outbox_merge(a.cursor_id, a.epoch + \(one), b.cursor_id, b.epoch + \(other), 0, NULL, NULL)
            FROM eventstore.outbox_cursors a, eventstore.outbox_cursors b WHERE a.cursor_id < b.cursor_id
          """)
      }
      #expect(error?.sqlState == "ESO01")
    }
    #expect(try await database.column(shards, as: String.self) == before)
  }
}
