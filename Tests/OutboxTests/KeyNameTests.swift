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
