import EventStore
import FoundationEssentials
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@testable import Outbox

@Suite("Names of keys, and of what a filter is asked for", .database, .timeLimit(.minutes(15)))
struct KeyNameTests {
  @Test("a metadata value that ends as the name of a lane does is a key like any other")
  func separator() async throws {
    try await TestDatabase.required.withLog { log in
      // The second would have been lane -1 of "x", the fourth the name of "a" in lane 1.
      let customers = ["x", "x\u{1F}-1", "a", "a\u{1F}1", "b\u{1F}99"]
      for (number, customer) in customers.enumerated() {
        try await append(log, try StreamName("k-\(number)"), "made", "made", customer: customer)
        try await append(log, try StreamName("k-\(number)"), "alarm.raised", customer: customer)
      }
      let groups = ConsumerGroups(log)
      let policy = GroupPolicy(
        retry: RetryPolicy(.fixed(0.01), attempts: 3), breaker: nil, priorities: [PriorityRule(types: ["alarm.*"])])
      try await groups.create(ConsumerGroup("customers", key: .metadata("customer"), policy: policy))
      let keys = Mutex<[String: Set<ExactName>]>([:])
      let seen = Seen()
      try await GroupConsumer(log, "customers", options: untilEmpty()) { delivery in
        _ = keys.withLock { $0[delivery.event.stream.description, default: []].insert(ExactName(delivery.key)) }
        if delivery.attempt == 1 { return .retry(reason: "once") }
        seen.add(delivery)
        return .ack
      }.run()
      #expect(seen.all.count == 15)
      // Each stream has a customer of its own, whatever the lane.
      let found = keys.withLock { $0 }
      #expect(found.values.allSatisfy { $0.count == 1 })
      #expect(Set(found.values.compactMap(\.first)).count == 5)
      #expect(try await groups.status(of: "customers").keysBehind == 0)
    }
  }

  @Test("streams that Swift takes for one, both behind and taken over: each gets its own events, once")
  func takenOver() async throws {
    try await TestDatabase.required.withLog { log in
      let streams = [try StreamName("k-\u{E9}"), try StreamName("k-e\u{301}")]
      for stream in streams { try await append(log, stream, "made", "made", "made") }
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup("all", policy: GroupPolicy(retry: RetryPolicy(.fixed(0.5), attempts: 100), breaker: nil)))
      try await withConsumers([GroupConsumer(log, "all") { _ in .retry(reason: "not yet") }]) {
        try await eventually("both are behind") { try await groups.status(of: "all").keysBehind == 2 }
        // Then all that they wait for is found in the log only.
        try await eventually("it was read") { try await groups.status(of: "all").position.rawValue == groups.end() }
      }
      let seen = Mutex<[ExactName: [Int]]>([:])
      let consumer = GroupConsumer(log, "all") { delivery in
        seen.withLock { $0[ExactName(delivery.event.stream.description), default: []].append(delivery.event.version) }
        return .ack
      }
      try await withConsumers([consumer]) {
        try await eventually("all six") { try await groups.status(of: "all").handled == 6 }
      }
      let found = seen.withLock { $0 }
      for stream in streams { #expect(found[ExactName(stream.description)] == [1, 2, 3]) }
    }
  }

  @Test(
    "type patterns go by bytes, as the server's do",
    arguments: [
      ("account.opened", "account.*", true), ("account.opened", "*.opened", true), ("account.opened", "a*o*d", true),
      ("account.opened", "a*x*d", false), ("account", "account", true), ("account", "account*", true),
      ("account", "ccount", false), ("", "*", true), ("a", "", false), ("aab", "*ab", true), ("abc", "*b", false),
      // The accent is a character of its own; and so is the letter.
      ("e\u{301}x", "e*", true), ("e\u{301}", "\u{E9}", false), ("*\u{301}", "*", true),
      ("a\u{301}", "a*\u{301}", true),
    ])
  func patterns(_ type: String, _ pattern: String, _ fits: Bool) async throws {
    #expect(TypePattern.matches(type, pattern) == fits)
    let byServer = try await TestDatabase.required.number(
      "SELECT ($1 LIKE $2)::integer", Parameters(type, TypePattern.like(pattern)))
    #expect(byServer == (fits ? 1 : 0))
  }

  @Test("a row whose name says a lane that is none: the nearest one", arguments: ["x\u{1F}-1", "x\u{1F}7", "x\u{1F}y"])
  func strangeLane(_ name: String) throws {
    var rules = CursorRules()
    rules.lanes = 2
    let state = CursorState(at: CursorPlace(position: 0), shards: .all, rules: rules)
    let event = RecordedEvent(
      id: UUID(), stream: "a-1", version: 1, position: Position(1), type: "made", schemaVersion: 1, recordedAt: .now,
      payload: .success(.json("{}")))
    state.admit([event]) { _ in (name, 0) }
    #expect(state.start(now: 0)?.key == name)
  }
}
