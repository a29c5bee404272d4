import EventStore
import Replay

/// Read models: rebuilt from history, and how far they are behind.
extension Scenario {
  static let rebuild = Scenario(
    name: "rebuild", ours: "rebuild of a read model in SQL from sealed events",
    yardstick: "INSERT … SELECT … GROUP BY over the same number of plain jsonb rows",
    comparisons: [.throughput(atLeast: nil)], mostRounds: 5
  ) { stage in
    let store = try await stage.filledStore()
    try await stage.yardstick(PlainAggregation.definitions(events: stage.effort.eventsToRead))
    return (
      try await Rebuilds(store, events: stage.effort.eventsToRead),
      try PlainAggregation(stage.url, events: stage.effort.eventsToRead)
    )
  }

  static let projectionLag = Scenario(
    name: "projection-lag", ours: "1,000 appends/s: from append returned to its row visible",
    yardstick: "the same to its arrival at a subscription",
    comparisons: [
      .latency(percentile: 50, atMost: nil), .latency(percentile: 99, atMost: nil),
    ], mostRounds: 7
  ) { stage in
    (
      try await ProjectionLag(stage.store("benchmarks_store"), rate: 1000, sees: .rows),
      try await ProjectionLag(stage.store("benchmarks_store_off"), rate: 1000, sees: .subscription)
    )
  }

  static let rebuildLag = Scenario(
    name: "rebuild-lag", ours: "500 appends/s while the model is rebuilt: from append returned to its row visible",
    yardstick: "the same without a rebuild",
    comparisons: [
      .latency(percentile: 50, atMost: nil), .latency(percentile: 99, atMost: nil),
      .latency(percentile: 100, atMost: nil),
    ], mostRounds: 3
  ) { stage in
    let quiet = try await stage.store("benchmarks_store_off")
    return (
      try await ProjectionLag(stage.filledStore(), rate: 500, sees: .rows, rebuilds: true),
      try await ProjectionLag(quiet, rate: 500, sees: .rows)
    )
  }
}

/// The read model of the sample events.
enum BalanceModel {
  static let text = """
    -- read model: balance
    -- version: 1
    -- categories: account
    -- streams: independent
    CREATE TABLE balance (account text PRIMARY KEY, balance numeric NOT NULL, deposits bigint NOT NULL);
    -- on: account.deposited
    INSERT INTO balance AS b (account, balance, deposits)
    SELECT stream, sum((data->>'amount')::numeric), count(*)
      FROM events
     GROUP BY stream
        ON CONFLICT (account) DO UPDATE
       SET balance = b.balance + excluded.balance, deposits = b.deposits + excluded.deposits;
    """

  static func model() throws -> ReadModel { try ReadModel(text, file: "balance.sql") }
}
