import EventStore

/// The whole log, against COPY of the same table.
extension Scenario {
  static let scan = Scenario(
    name: "scan", ours: "readAll().pages, sealed events opened",
    yardstick: "COPY (SELECT … ORDER BY position), binary",
    comparisons: [.throughput(atLeast: 0.5, aim: 0.75)], contestants: { try await scan($0) },
    remarks: { [try await peakMemory($0)] })

  static let scanCodable = Scenario(
    name: "scan-codable", ours: "the same, decoded to a Codable struct", yardstick: "the same",
    comparisons: [.throughput(atLeast: nil)], mostRounds: 5,
    contestants: { try await scan($0, codec: EventCodec(Deposited.self)) })

  private static func scan(
    _ stage: Stage, codec: EventCodec? = nil
  ) async throws -> (ours: any Contestant, yardstick: any Contestant) {
    let store = try await stage.filledStore()
    let events = stage.effort.eventsToRead
    return (
      try await Scan(store, events: events, codec: codec),
      try CopyScan(stage.url, schema: store.schema.name, events: events)
    )
  }

  /// In a process of its own, which does nothing else.
  private static func peakMemory(_ stage: Stage) async throws -> Figure {
    let store = try await stage.filledStore()
    let count = try await ChildProcess.worker(
      ["scan", "--schema", store.schema.name, "--keyring", stage.keyringPath], url: stage.url, as: WorkerCount.self)
    let megabytes = Double(count.peakKiB ?? 0) * 1024 / 1e6
    return Figure(
      scenario: "scan", measure: "peak MB", rounds: 1, ours: megabytes, target: "< 200 MB", isMet: megabytes < 200)
  }
}
