internal import EventStore
internal import PostgreSQL
internal import Projections
internal import Replay
internal import Synchronization

/// The demo's third part: a read model that follows the log, and its second version, built beside it, compared and
/// switched to while a writer appends and a reader reads.
struct DemoProjections {
  let log: PostgreSQLEventLog
  /// What the writers know.
  let books: [StreamName: (version: Int, balance: Int)]
  let store: StoreOptions

  private var catalog: ProjectionCatalog { ProjectionCatalog(log) }

  /// What is read and written beside the rebuild.
  private final class Beside: Sendable {
    struct State {
      var appended = 0
      var reads = 0
      var wrong = 0
      var slowest = Duration.zero
    }
    let state = Mutex(State())
  }

  func run() async throws -> [DemoCheck] {
    try await catalog.register(try ReadModel(SQL.`demo/balance`, file: "schema/demo/balance.sql"))
    let runner = ProjectionRunner(log)
    let running = Task { try await runner.run() }
    do {
      let checks = try await checks()
      running.cancel()
      try await running.value
      return checks
    } catch {
      running.cancel()
      _ = await running.result
      throw error
    }
  }

  private func checks() async throws -> [DemoCheck] {
    let live = try await becomesLive()
    let beside = Beside()
    let total = books.values.reduce(0) { $0 + $1.balance }
    let (writer, reader) = (Task { try await write(beside) }, Task { try await read(beside, total) })
    defer {
      writer.cancel()
      reader.cancel()
    }
    let rebuilt = try await rebuild()
    let lag = try await lag()
    writer.cancel()
    _ = await writer.result
    try await catalog.wait(for: "balance")
    reader.cancel()
    try await reader.value
    return [live] + rebuilt + [lag, try await readers(beside, total)]
  }

  private func becomesLive() async throws -> DemoCheck {
    let bar = store.progressBar("project", total: nil, unit: .count("events"))
    while true {
      guard let build = try await catalog.builds(of: "balance").first else { continue }
      bar.update(completed: build.applied)
      if build.role == .live { break }
      if let failure = build.failure { throw failure }
      try await Task.sleep(for: .milliseconds(20))
    }
    bar.finish()
    let sums = try await sums()
    let total = books.values.reduce(0) { $0 + $1.balance }
    return DemoCheck(
      name: "projected into \(catalog.viewSchema).balance", figure: "\(sums.rows) rows, live, all as the writers know",
      isRight: sums.rows == books.count && sums.cents == total)
  }

  /// Sums of one moment, of the accounts that the writers know and of the one that is appended to beside.
  private func sums() async throws -> (rows: Int, cents: Int, beside: Int) {
    let row = try await log.pool.execute(
      Statement(SQL.`queries/demo_sums`.replacing(":\"views\"", with: catalog.viewSchema)))
    return (Int(row.int64(0, 0)), Int(row.int64(0, 1)), Int(row.int64(0, 2)))
  }

  private static let besideAccount = StreamName(trusted: "account-beside")

  private func write(_ beside: Beside) async throws {
    var version = 0
    while !Task.isCancelled {
      let event = EventData(type: "account.deposited", payload: .json("{\"cents\":\"1\"}"))
      // Not cut off: what was appended must be counted.
      version = try await Task { [version] in
        try await log.append([event], to: Self.besideAccount, expecting: .exact(version)).version
      }.value
      beside.state.withLock { $0.appended = version }
      try? await Task.sleep(for: .milliseconds(2))
    }
  }

  private func read(_ beside: Beside, _ total: Int) async throws {
    var last = 0
    while !Task.isCancelled {
      let start = ContinuousClock.now
      let found = try await Task { try await sums() }.value
      let took = start.duration(to: .now)
      beside.state.withLock { state in
        state.reads += 1
        if found.cents != total || found.beside < last { state.wrong += 1 }
        state.slowest = max(state.slowest, took)
      }
      last = found.beside
      try? await Task.sleep(for: .milliseconds(5))
    }
  }

  private func rebuild() async throws -> [DemoCheck] {
    let second = try ReadModel(SQL.`demo/balance_v2`, file: "schema/demo/balance_v2.sql")
    let bar = store.progressBar("rebuild", total: nil, unit: .count("positions"))
    let start = ContinuousClock.now
    let built = try await catalog.rebuild("balance", with: second) { progress in
      bar.update(total: Int(progress.end.description) ?? 0)
      bar.update(completed: Int(progress.position.description) ?? 0)
    }
    bar.finish()
    let rate = Int(Double(built.applied) / (start.duration(to: .now) / .seconds(1)))
    let comparison = try await catalog.compare("balance")
    let table = comparison.tables.first
    try await catalog.switchOver("balance")
    try await catalog.rollback("balance")
    try await catalog.switchOver("balance")
    let roles = try await catalog.builds(of: "balance").map { "version \($0.version) \($0.role.rawValue)" }
    return [
      DemoCheck(
        name: "version 2 rebuilt beside it",
        figure: "\(Quantity.count(built.applied)) events, \(Quantity.count(rate))/s",
        isRight: built.applied >= books.values.reduce(0) { $0 + $1.version }),
      DemoCheck(
        name: "compared",
        figure: "the rows are the same; only in version 2: \(table?.columnsOnlyInNew.joined(separator: ", ") ?? "")",
        isRight: table?.hasSameRows == true && table?.columnsOnlyInNew == ["deposited", "withdrawn"]),
      DemoCheck(
        name: "switched, rolled back, switched", figure: roles.joined(separator: ", "),
        isRight: roles == ["version 1 previous", "version 2 live"]),
    ]
  }

  /// From an append that has returned to its row.
  private func lag() async throws -> DemoCheck {
    let stream = StreamName(trusted: "account-lag")
    var times: [Duration] = []
    for version in 0..<20 {
      let event = EventData(type: "account.deposited", payload: .json("{\"cents\":\"0\"}"))
      let result = try await log.append([event], to: stream, expecting: .exact(version))
      let start = ContinuousClock.now
      try await catalog.wait(for: "balance", toReach: result.positions.last)
      times.append(start.duration(to: .now))
    }
    let median = times.sorted()[times.count / 2]
    return DemoCheck(
      name: "read your writes",
      figure: "\(times.count) appends, each in the model \(Quantity.duration(median)) later (median)",
      isRight: times.count == 20)
  }

  private func readers(_ beside: Beside, _ total: Int) async throws -> DemoCheck {
    let state = beside.state.withLock { $0 }
    let end = try await sums()
    return DemoCheck(
      name: "meanwhile",
      figure:
        "\(Quantity.count(state.appended)) appends, \(Quantity.count(state.reads)) reads, none wrong, the slowest "
        + "\(Quantity.duration(state.slowest))",
      isRight: state.wrong == 0 && state.reads > 0 && end.beside == state.appended && end.cents == total)
  }
}
