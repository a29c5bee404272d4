import EventStore

extension Scenario {
  static let twoProcesses = Scenario(
    name: "two-processes", ours: "appends of one event, 2 processes of 16 tasks", yardstick: "1 process of 32 tasks",
    comparisons: [.throughput(atLeast: 0.8)]
  ) { stage in
    let schema = try await stage.store().schema
    return (
      AppendingProcesses(stage: stage, schema: schema, processes: 2, callersPerProcess: 16),
      AppendingProcesses(stage: stage, schema: schema, processes: 1, callersPerProcess: 32)
    )
  }
}
