import EventStore

/// Aggregates: replayed in full, loaded by way of a snapshot, and what snapshots cost whoever appends.
extension Scenario {
  private static let length = 10_000
  private static let interval = 100

  static let replay10k = Scenario(
    name: "replay-10k", ours: "load of an aggregate of 10,000 events, without snapshots, folded",
    yardstick: "prepared SELECT of the same stream", comparisons: [.throughput(atLeast: 0.4)]
  ) { stage in
    let store = try await stage.aggregateStore(length: length)
    let ids = try await stage.streamIDs(of: [try BenchmarkAccount.stream("long")], store)
    return (
      try await AggregateLoads(store, id: "long", length: length, usesSnapshots: false),
      try PreparedClients(1, stage.url, .streamSelect(store.schema.name, ids, length: length))
    )
  }

  static let stream10k = Scenario(
    name: "stream-10k", ours: "read(stream).collect(), 10,000 events, opened",
    yardstick: "prepared SELECT of the same stream", comparisons: [.throughput(atLeast: 0.4)]
  ) { stage in
    let store = try await stage.aggregateStore(length: length)
    let stream = try BenchmarkAccount.stream("long")
    let ids = try await stage.streamIDs(of: [stream], store)
    return (
      try await StreamReads(store, [stream], length: length),
      try PreparedClients(1, stage.url, .streamSelect(store.schema.name, ids, length: length))
    )
  }

  static let snapshotLoad = Scenario(
    name: "snapshot-load", ours: "load of an aggregate of 10,000 events, the snapshot 99 events old",
    yardstick: "the same without snapshots", comparisons: [.latency(percentile: 50, atMost: 0.1)]
  ) { stage in
    let store = try await stage.aggregateStore(length: length, snapshotAt: length - interval + 1)
    return (
      try await AggregateLoads(store, id: "long", length: length, usesSnapshots: true),
      try await AggregateLoads(store, id: "long", length: length, usesSnapshots: false)
    )
  }

  static let snapshotAppends = Scenario(
    name: "snapshot-appends", ours: "32 tasks append while the service makes snapshots every 100 events",
    yardstick: "the same without the service", comparisons: [.throughput(atLeast: 0.97)], mostRounds: 9
  ) { stage in
    (
      try await AppendsWithSnapshots(stage.store("benchmarks_store"), callers: 32, isServed: true),
      try await AppendsWithSnapshots(stage.store("benchmarks_store_off"), callers: 32, isServed: false)
    )
  }
}

extension Stage {
  /// A store with one long stream, `account-long`.
  fileprivate func aggregateStore(length: Int, snapshotAt: Int? = nil) async throws -> EventLogConfiguration {
    let configuration = try await store("benchmarks_aggregates")
    try await PostgreSQLEventLog.withLog(configuration) { log in
      let stream = try BenchmarkAccount.stream("long")
      var version = 0
      for end in [snapshotAt ?? 0, length] {
        while version < end {
          let events = (version..<min(version + 100, end)).map { SamplePayloads.event($0) }
          version = try await log.append(events, to: stream, expecting: .exact(version)).version
        }
        // A load that long makes a snapshot.
        if end == snapshotAt { _ = try await AggregateStore(log).load(BenchmarkAccount.self, "long") }
      }
    }
    return configuration
  }
}
