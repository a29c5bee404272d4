import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Consumers", .database, .timeLimit(.minutes(15)))
struct ConsumerTests {
  @Test("every event of a group once, in order by stream, many at a time; new ones as they come")
  func delivers() async throws {
    try await TestDatabase.required.withLog { log in
      try await appendItems(log, streams: 20, each: 10)
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all"))
      let ledger = Ledger()
      let consumer = GroupConsumer(log, "all") { delivery in
        ledger.begin(delivery)
        try await Task.sleep(for: .milliseconds(1))
        ledger.end(delivery, isOver: true)
        return .ack
      }
      try await withConsumers([consumer]) {
        try await eventually("200 events") { ledger.handled.count == 200 }
        try await appendItems(log, streams: 20, each: 5, from: 10)
        try await eventually("100 more") { ledger.handled.count == 300 }
        try await eventually("the cursor follows") { try await groups.status(of: "all").handled == 300 }
      }
      #expect(ledger.problems == [])
      let times = Set(ledger.handled.values)
      #expect(times == [1] && ledger.mostAtOnce > 5)
      let status = try await groups.status(of: "all")
      #expect(status.state == .idle && status.keysBehind == 0 && status.parked == 0)
      // Nothing comes again.
      var options = GroupConsumer.Options()
      options.endsWhenEmpty = true
      let more = Atomic<Int>(0)
      try await GroupConsumer(log, "all", options: options) { _ in
        more.add(1, ordering: .relaxed)
        return .ack
      }.run()
      #expect(more.load(ordering: .relaxed) == 0)
    }
  }

  @Test(
    "an event that fails is tried again; later ones of its stream wait, others do not; in the end it is a dead letter")
  func retries() async throws {
    try await TestDatabase.required.withLog { log in
      try await appendItems(log, streams: 10, each: 10)
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(retry: RetryPolicy(.fixed(0.05), attempts: 3), breaker: nil)
      try await groups.create(ConsumerGroup("some", policy: policy))
      let ledger = Ledger()
      let attempts = Mutex<[String: [Int]]>([:])
      var options = GroupConsumer.Options()
      options.endsWhenEmpty = true
      try await GroupConsumer(log, "some", options: options) { delivery in
        ledger.begin(delivery)
        let event = delivery.event
        attempts.withLock { $0["\(event.stream) \(event.version)", default: []].append(delivery.attempt) }
        // Twice; and always.
        let fails =
          (event.stream == "item-3" && event.version == 4 && delivery.attempt < 3)
          || (event.stream == "item-7" && event.version == 2)
        ledger.end(delivery, isOver: !fails || delivery.attempt == 3)
        return fails ? .retry(reason: "order 4711 is not there yet") : .ack
      }.run()
      #expect(ledger.problems == [])
      #expect(ledger.handled.count == 100)
      let tried = attempts.withLock { $0 }
      #expect(tried["item-3 4"] == [1, 2, 3] && tried["item-7 2"] == [1, 2, 3] && tried["item-3 5"] == [1])
      let status = try await groups.status(of: "some")
      #expect(status.parked == 1 && status.keysBehind == 0 && status.handled == 100)
      let parked = try await TestDatabase.required.column(
        "SELECT stream || ' ' || version || ' ' || attempts || ' ' || problem FROM eventstore.outbox_parked",
        as: String.self)
      #expect(parked == ["item-7 2 3 order 4711 is not there yet"])
    }
  }

  @Test("members share the shards, and hand them over when one comes or goes")
  func shares() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all"))
      let ledger = Ledger()
      var options = GroupConsumer.Options()
      options.lease = .seconds(1)
      let handler: @Sendable (Delivery) async throws -> Disposition = { delivery in
        ledger.begin(delivery)
        try await Task.sleep(for: .milliseconds(2))
        ledger.end(delivery, isOver: true)
        return .ack
      }
      let shares = """
        SELECT coalesce(sum(bit_count(shards)), 0)::bigint FROM eventstore.outbox_cursors
         WHERE member IS NOT NULL GROUP BY member ORDER BY 1
        """
      let three = (0..<3).map { _ in GroupConsumer(log, "all", options: options, handler: handler) }
      try await withConsumers([three[0]]) {
        try await eventually("one has all") { try await database.column(shares, as: Int.self) == [256] }
        try await withConsumers([three[1], three[2]]) {
          async let appended: Void = appendItems(log, streams: 50, each: 40)
          try await eventually("a third each") { try await database.column(shares, as: Int.self) == [85, 85, 86] }
          try await appended
          try await eventually("all are handled") { ledger.handled.count == 2_000 }
        }
        try await appendItems(log, streams: 50, each: 10, from: 40)
        try await eventually("one has all again") { try await database.column(shares, as: Int.self) == [256] }
        try await eventually("all are handled") { ledger.handled.count == 2_500 }
        try await eventually("cursors are merged") {
          try await database.number("SELECT count(*) FROM eventstore.outbox_cursors") == 1
        }
      }
      #expect(ledger.problems == [])
      let times = Set(ledger.handled.values)
      #expect(times == [1])
    }
  }

  @Test("in a transaction: what handlers wrote is there exactly once, whatever is killed", arguments: [1, 20])
  func exactlyOnce(size: Int) async throws {
    let database = try TestDatabase.required
    try await database.sql(
      "CREATE TABLE effects (position bigint NOT NULL, stream text NOT NULL, version bigint NOT NULL)")
    try await database.withLog { log in
      try await appendItems(log, streams: 20, each: 30)
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(retry: RetryPolicy(.fixed(0.01), attempts: 3), breaker: nil)
      try await groups.create(ConsumerGroup("all", policy: policy))
      let insert = Statement("INSERT INTO effects VALUES ($1::text::bigint, $2, $3)")
      var options = GroupConsumer.Options()
      options.lease = .seconds(1)
      let failures = Atomic<Int>(0)
      let consumers = (0..<3).map { _ in
        GroupConsumer(log, "all", transactions: .init(size: size), options: options) { delivery, transaction in
          let event = delivery.event
          try await transaction.execute(
            insert, Parameters(event.position.description, event.stream.description, event.version))
          if event.version == 7, event.stream == "item-3" { return .retry(reason: "always") }
          if event.version == 9, delivery.attempt < 2 {
            failures.add(1, ordering: .relaxed)
            throw DeliveryFailure(.retry(reason: "once"))
          }
          return .ack
        }
      }
      try await withConsumers(consumers) {
        let stop = Atomic<Bool>(false)
        async let killer: Void = {
          // Kills come by the clock and work does not: a slow machine under them would get nowhere.
          for _ in 0..<300 where !stop.load(ordering: .relaxed) {
            try await Task.sleep(for: .milliseconds(60))
            try await database.sql(
              """
              SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.2
              """)
          }
        }()
        try await eventually("all are handled", within: .seconds(300)) {
          // It may be killed itself.
          let count = try? await database.number(
            "SELECT (SELECT count(*) FROM effects) + (SELECT count(*) FROM eventstore.outbox_parked)")
          return count ?? 0 >= 600
        }
        stop.store(true, ordering: .relaxed)
        try await killer
      }
      #expect(failures.load(ordering: .relaxed) >= 20)
      #expect(try await database.number("SELECT count(*) FROM effects") == 599)
      #expect(try await database.number("SELECT count(DISTINCT position) FROM effects") == 599)
    }
  }

  @Test("automatic concurrency: never more than the most, and more than at first where that is worth it")
  func automatic() async throws {
    try await TestDatabase.required.withLog { log in
      for stream in 0..<200 {
        try await log.append(
          (0..<100).map { _ in EventData(type: "made", payload: .json("{}")) }, to: try StreamName("item-\(stream)"),
          expecting: .noStream)
      }
      try await ConsumerGroups(log).create(ConsumerGroup("auto"))
      let ledger = Ledger()
      var options = GroupConsumer.Options()
      options.automaticConcurrency = 2...24
      let consumer = GroupConsumer(log, "auto", options: options) { delivery in
        ledger.begin(delivery)
        // It only waits: there is room for any number.
        try await Task.sleep(for: .milliseconds(5))
        ledger.end(delivery, isOver: true)
        return .ack
      }
      try await withConsumers([consumer]) {
        try await eventually("it grows", within: .seconds(60)) { ledger.mostAtOnce > 16 }
        try await eventually("it says so", within: .seconds(60)) {
          try await ConsumerGroups(log).members(of: "auto").first?.status.concurrency ?? 0 > 8
        }
      }
      #expect(ledger.mostAtOnce <= 24)
      #expect(ledger.problems == [])
    }
  }
}
