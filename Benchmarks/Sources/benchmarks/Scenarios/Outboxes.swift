import EventStore
import Outbox

/// Consumer groups beside the least that a queue can do, and beside the usual queue in a table.
extension Scenario {
  static let drain = Scenario(
    name: "drain", ours: "one consumer of an ordered group, a handler that does nothing, sealed events, streams of 100",
    yardstick: "a cursor that is moved with each batch of 100, in plain libpq, nothing opened",
    comparisons: [.throughput(atLeast: 0.35, aim: 0.7)], mostRounds: 5
  ) { stage in
    let store = try await stage.filledStore()
    try await stage.yardstick(CursorLoop.definitions)
    return (
      try await Drain(store, events: stage.effort.eventsToRead),
      try CursorLoop(stage.url, schema: store.schema.description, batch: 100, events: stage.effort.eventsToRead)
    )
  }

  static let drainQueue = Scenario(
    name: "drain-queue", ours: "the same", yardstick: "lease and delete 100 with SKIP LOCKED, in plain libpq",
    comparisons: [.throughput(atLeast: 2.5)], mostRounds: 5
  ) { stage in
    let store = try await stage.filledStore()
    try await stage.yardstick(SkipLockedQueue.definitions)
    return (
      try await Drain(store, events: stage.effort.eventsToRead),
      try SkipLockedQueue(stage.url, batch: 100, events: stage.effort.eventsToRead)
    )
  }

  static let drainKeys = Scenario(
    name: "drain-keys", ours: "the same, 100,000 streams of 10 events", yardstick: "streams of 100 events",
    comparisons: [.throughput(atLeast: 0.8)], mostRounds: 5
  ) { stage in
    let store = try await stage.filledStore()
    let many = try await stage.store("benchmarks_keys")
    try await FilledStore.fill(many, events: stage.effort.eventsToRead, streamLength: 10)
    try await stage.vacuum(many)
    return (
      try await Drain(many, events: stage.effort.eventsToRead),
      try await Drain(store, events: stage.effort.eventsToRead)
    )
  }

  static let deliveryLag = Scenario(
    name: "delivery-lag", ours: "1,000 appends/s on 1,000 streams: from the instant each was due to its handler",
    yardstick: "the same to its arrival at a subscription",
    comparisons: [.latency(percentile: 50, atMost: nil), .latency(percentile: 99, atMost: nil)], mostRounds: 5
  ) { stage in
    (
      try await DeliveryLag(stage.store("benchmarks_store"), rate: 1000, sees: .handler),
      try await DeliveryLag(stage.store("benchmarks_store_off"), rate: 1000, sees: .subscription)
    )
  }

  static let idleGroups = Scenario(
    name: "idle-groups",
    ours: "32 concurrent appends of one event, in a store with ten consumer groups that nobody consumes",
    yardstick: "the same without groups", comparisons: [.throughput(atLeast: 0.97)]
  ) { stage in
    let store = try await stage.store("benchmarks_store")
    try await PostgreSQLEventLog.withLog(store) { log in
      for number in 0..<10 { try await ConsumerGroups(log).create(ConsumerGroup("idle-\(number)")) }
    }
    return (
      try await Appends(store, callers: 32),
      try await Appends(try await stage.store("benchmarks_store_off"), callers: 32)
    )
  }

  static let idleConsumers = Scenario(
    name: "idle-consumers",
    ours: "32 concurrent appends of one event, beside ten consumers in the same process whose groups want none of them",
    yardstick: "the same without groups", comparisons: [.throughput(atLeast: nil)]
  ) { stage in
    (
      try await AppendsBesideConsumers(try await stage.store("benchmarks_store"), callers: 32, groups: 10),
      try await AppendsBesideConsumers(try await stage.store("benchmarks_store_off"), callers: 32, groups: 0)
    )
  }
}
