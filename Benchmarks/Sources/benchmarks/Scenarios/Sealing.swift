/// What encryption costs: the sealed store against one without, both ours.
extension Scenario {
  static let sealAppend = Scenario(
    name: "seal-append", ours: "appends of 100 sealed events, 1 task", yardstick: "the same, Encryption.off",
    comparisons: [.throughput(atLeast: 0.95)]
  ) { stage in
    (
      try await Appends(stage.store("benchmarks_store"), callers: 1, batch: 100),
      try await Appends(stage.store("benchmarks_store_off", isSealed: false), callers: 1, batch: 100)
    )
  }

  static let sealScan = Scenario(
    name: "seal-scan", ours: "readAll().pages, sealed", yardstick: "the same, Encryption.off",
    comparisons: [.throughput(atLeast: 0.85)]
  ) { stage in
    let events = stage.effort.eventsToRead
    return (
      try await Scan(stage.filledStore(), events: events),
      try await Scan(stage.filledStore(isSealed: false), events: events)
    )
  }
}
