/// What encryption costs: the sealed store against one without, both ours.
extension Scenario {
  /// Of many events at once, where sealing is on the way of the only caller.
  static let sealAppend = sealAppend(
    "seal-append", ours: "appends of 100 sealed events, 1 task", callers: 1, batch: 100)

  static let sealAppend32 = sealAppend(
    "seal-append-32", ours: "appends of one sealed event, 32 tasks", callers: 32, batch: 1)

  private static func sealAppend(_ name: String, ours: String, callers: Int, batch: Int) -> Scenario {
    Scenario(
      name: name, ours: ours, yardstick: "the same, Encryption.off", comparisons: [.throughput(atLeast: 0.95)]
    ) { stage in
      (
        try await Appends(stage.store("benchmarks_store"), callers: callers, batch: batch),
        try await Appends(stage.store("benchmarks_store_off", isSealed: false), callers: callers, batch: batch)
      )
    }
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
