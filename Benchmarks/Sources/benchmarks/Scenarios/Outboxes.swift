import EventStore

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
}
