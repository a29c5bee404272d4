extension Scenario {
  static let batch100 = Scenario(
    name: "batch-100", ours: "appends of 100 events, 1 task", yardstick: "INSERT … unnest of 100 rows, 1 client",
    comparisons: [.throughput(atLeast: 0.6, aim: 0.75), .latency(percentile: 99, atMost: nil)]
  ) { stage in
    try await stage.yardstick(YardstickTable.events)
    return (
      try await Appends(stage.store(), callers: 1, batch: 100), try PreparedClients(1, stage.url, .unnestInsert(100))
    )
  }
}
