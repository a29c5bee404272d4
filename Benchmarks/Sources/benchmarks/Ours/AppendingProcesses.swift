import EventStore

/// Processes that append at the same time: this program again, started anew for each round.
struct AppendingProcesses: Contestant {
  let stage: Stage
  let schema: SchemaName
  let processes: Int
  let callersPerProcess: Int

  /// Time to start, to connect, and to make streams and keys.
  private static let preparation = Duration.milliseconds(1200)

  func run(for duration: Duration) async throws -> Sample {
    let start = Monotonic.now + Self.preparation.nanoseconds
    let counts = try await withThrowingTaskGroup(of: WorkerCount.self) { group in
      for _ in 0..<processes {
        group.addTask { [stage, schema, callersPerProcess] in
          try await ChildProcess.worker(
            [
              "appends", "--schema", schema.name, "--keyring", stage.keyringPath, "--callers", "\(callersPerProcess)",
              "--start", "\(start)", "--nanoseconds", "\(duration.nanoseconds)",
            ], url: stage.url, as: WorkerCount.self)
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    let seconds = counts.map(\.seconds).max() ?? 0
    return Sample([Tally(events: counts.reduce(0) { $0 + $1.events })], seconds: seconds)
  }
}

/// What a worker process says of its round.
struct WorkerCount: Codable, Sendable {
  let events: Int
  let seconds: Double
  /// The most memory that the process held, in KiB.
  var peakKiB: Int?
}
