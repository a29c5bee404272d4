/// Appends of one event, against one transaction an event.
extension Scenario {
  static let appends32 = singleAppends(
    "appends-32", callers: 32, "one-row INSERT, 32 clients", clients: 32, .oneRowInsert,
    [.throughput(atLeast: 2.5, aim: 3.5), .latency(percentile: 50, atMost: nil), .latency(percentile: 99, atMost: 0.6)])

  static let appends256 = singleAppends(
    "appends-256", callers: 256, "one-row INSERT, 32 clients", clients: 32, .oneRowInsert,
    [.throughput(atLeast: 6, aim: 10), .latency(percentile: 99, atMost: nil)])

  static let appends32Function = singleAppends(
    "appends-32-fn", callers: 32, "one call of a plpgsql append an event, 32 clients", clients: 32, .appendFunction,
    [.throughput(atLeast: 4), .latency(percentile: 99, atMost: nil)])

  static let lone = singleAppends(
    "lone", callers: 1, "one-row INSERT, 1 client", clients: 1, .oneRowInsert,
    [.latency(percentile: 50, atMost: 1.4), .latency(percentile: 99, atMost: nil)])

  static let appendsAny = Scenario(
    name: "appends-any", ours: "appends of one event that expect no version, 32 tasks",
    yardstick: "the same with expected versions", comparisons: [.throughput(atLeast: 0.85)]
  ) { stage in
    (
      try await Appends(stage.store("benchmarks_store"), callers: 32, expectsVersions: false),
      try await Appends(stage.store("benchmarks_store_exact"), callers: 32)
    )
  }

  static let appendsNew = Scenario(
    name: "appends-new", ours: "appends of one event, 32 tasks, each going on with a new stream after 10",
    yardstick: "the same, each on one stream", comparisons: [.throughput(atLeast: 0.65)]
  ) { stage in
    (
      try await Appends(stage.store("benchmarks_store"), callers: 32, eventsPerStream: 10),
      try await Appends(stage.store("benchmarks_store_one"), callers: 32)
    )
  }

  private static func singleAppends(
    _ name: String, callers: Int, _ yardstick: String, clients: Int, _ call: PreparedClients.Call,
    _ comparisons: [Comparison]
  ) -> Scenario {
    Scenario(
      name: name, ours: "appends of one event, \(callers) \(callers == 1 ? "task" : "tasks")", yardstick: yardstick,
      comparisons: comparisons
    ) { stage in
      try await stage.yardstick(YardstickTable.events + YardstickTable.appendFunction)
      return (
        try await Appends(stage.store(), callers: callers), try PreparedClients(clients, stage.url, call)
      )
    }
  }
}
