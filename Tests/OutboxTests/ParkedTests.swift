import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Dead letters, and groups that are operated", .database, .timeLimit(.minutes(15)))
struct ParkedTests {
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
}
