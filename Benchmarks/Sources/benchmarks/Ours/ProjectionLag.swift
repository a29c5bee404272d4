import EventStore
import PostgreSQL
import Projections
import Synchronization

/// Appends at a fixed rate, from the scheduled instant, and measures how long after its append has returned each event is
/// to be seen: in the rows of a projection that another pool of connections runs, or by a subscription there.
final class ProjectionLag: Contestant {
  enum Sees { case rows, subscription }

  private let writer: PostgreSQLEventLog
  private let reader: PostgreSQLEventLog
  private let catalog: ProjectionCatalog
  private let rate: Int
  private let sees: Sees
  private let rebuilds: Bool
  private let pending = Mutex<[(position: Position, at: UInt64)]>([])

  init(_ configuration: EventLogConfiguration, rate: Int, sees: Sees, rebuilds: Bool = false) async throws {
    writer = try await PostgreSQLEventLog.open(configuration)
    reader = try await PostgreSQLEventLog.open(configuration)
    catalog = ProjectionCatalog(reader)
    self.rate = rate
    self.sees = sees
    self.rebuilds = rebuilds
    if sees == .rows { try await catalog.registerLive(reader) }
  }

  func run(for duration: Duration) async throws -> Sample {
    let duration = max(duration, .seconds(3))
    let seen = Mutex2()
    let runner = Task { try await ProjectionRunner(reader).run() }
    let watcher = Task { try await watch(seen) }
    // The runner has its leases and its connections.
    try await Task.sleep(for: .milliseconds(1500))
    let rebuild = Task { if rebuilds { _ = try await rebuildOnce() } }
    let start = Monotonic.now
    try await append(until: start + duration.nanoseconds, rebuild)
    rebuild.cancel()
    try await Task.sleep(for: .milliseconds(300))
    watcher.cancel()
    runner.cancel()
    _ = await (rebuild.result, watcher.result, runner.result)
    return Sample([Tally(events: seen.all.count, latencies: seen.all)], seconds: Double(Monotonic.now - start) / 1e9)
  }

  private func rebuildOnce() async throws {
    if try await catalog.builds(of: "balance").contains(where: { $0.role == .new }) {
      try await catalog.abandon("balance")
    }
    _ = try await ProjectionCatalog(writer).rebuild("balance")
  }

  /// Each append has its instant, whether or not the one before it has returned.
  private func append(until end: UInt64, _ rebuild: Task<Void, any Error>) async throws {
    let step = UInt64(1_000_000_000 / rate)
    try await withThrowingTaskGroup(of: Void.self) { group in
      var due = Monotonic.now
      var number = 0
      while due < end {
        let now = Monotonic.now
        if now < due { try await Task.sleep(for: .nanoseconds(due - now)) }
        // Timers are coarse: what is due by now is sent together.
        while due <= Monotonic.now {
          let stream = try StreamName(category: "account", id: "lag-\(number % 1000)")
          group.addTask { [self, number] in
            let result = try await writer.append([SamplePayloads.event(number)], to: stream, expecting: .any)
            let at = Monotonic.now
            if let position = result.positions.last { pending.withLock { $0.append((position, at)) } }
          }
          number += 1
          due += step
        }
      }
      try await group.waitForAll()
    }
  }

  private func watch(_ seen: Mutex2) async throws {
    switch sees {
    case .rows:
      let connection = try await Connection.connect(reader.configuration.connection)
      defer { connection.close() }
      // What is applied and the checkpoint commit together.
      let query = Statement(
        """
        SELECT c.position FROM \(reader.configuration.schema).projection_checkpoints c
          JOIN \(reader.configuration.schema).projection_builds b ON b.build = c.build
         WHERE b.role = 'live' AND c.part = -1
        """)
      while !Task.isCancelled {
        let rows = try await connection.execute(query)
        if !rows.isEmpty { settle(Position(String(rows.int64(0, 0))) ?? .start, seen) }
        try await Task.sleep(for: .milliseconds(1))
      }
    case .subscription:
      for try await page in reader.subscribe().pages { settle(page.last?.position ?? .start, seen) }
    }
  }

  private func settle(_ position: Position, _ seen: Mutex2) {
    let now = Monotonic.now
    let done = pending.withLock { pending in
      let done = pending.filter { $0.position <= position }
      pending.removeAll { $0.position <= position }
      return done
    }
    seen.append(done.map { now > $0.at ? now - $0.at : 0 })
  }

  func end() async {
    await writer.close()
    await reader.close()
  }

  private final class Mutex2: Sendable {
    private let values = Mutex<[UInt64]>([])
    func append(_ more: [UInt64]) { values.withLock { $0 += more } }
    var all: [UInt64] { values.withLock { $0 } }
  }
}
