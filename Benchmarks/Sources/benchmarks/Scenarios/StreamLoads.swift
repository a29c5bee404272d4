import EventStore

extension Scenario {
  static let stream100 = Scenario(
    name: "stream-100", ours: "read(stream).collect(), 100 events", yardstick: "prepared SELECT of the same stream",
    comparisons: [.throughput(atLeast: 0.6, aim: 0.85), .latency(percentile: 50, atMost: nil)]
  ) { stage in
    let store = try await stage.filledStore()
    let count = min(4000, FilledStore.streamCount(events: stage.effort.eventsToRead))
    let streams = try (0..<count).map(FilledStore.name)
    let length = FilledStore.streamLength
    let ids = try await stage.streamIDs(of: streams, store)
    return (
      try await StreamReads(store, streams, length: length),
      try PreparedClients(1, stage.url, .streamSelect(store.schema.name, ids, length: length))
    )
  }
}
