internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Projections
internal import Replay
internal import Synchronization

struct ProjectionsRebuild: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rebuild", abstract: "Build a projection anew beside the live one, which goes on serving.",
    discussion: """
      Returns when the new build has caught up; `projections run` then keeps it up to date until you switch to it or \
      abandon it. Killed at any moment, start it again: it goes on where it was. A projection in the code of a service is \
      built by that service.

      Examples:
        esctl projections rebuild balance --file balance-v2.sql
        esctl projections rebuild balance --auto
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: "The projection.")
  var name: String

  @Option(help: ArgumentHelp("The read model in its new version. Default: as it is live.", valueName: "file.sql"))
  var file: String?

  @Flag(help: "Switch as soon as it has caught up.")
  var auto = false

  @Flag(help: "Have code notify and call others also for history.")
  var sideEffects = false

  @Option(help: "Connections that apply events where streams are independent. Default: one a core.")
  var workers: Int?

  func validate() throws {
    if let workers, !(1...16).contains(workers) { throw ValidationError("--workers: expected 1 to 16") }
  }

  func run() async throws {
    let model = try file.map(readModel)
    try await store.withLog(.maintain) { log in
      let catalog = CommandEnvironment.catalog(log)
      if let model { try await warnOfUnknownTypes(model, log, store) }
      var options = ProjectionRunner.Options()
      if let workers { options.connections = workers }
      let bar = store.progressBar("rebuild", total: nil, unit: .count("positions"))
      let start = ContinuousClock.now
      let built = try await catalog.rebuild(
        name, with: model, code: CommandEnvironment.current.projections, goesLive: auto, sideEffects: sideEffects,
        options: options
      ) { progress in
        bar.update(total: Int(progress.end.description) ?? 0)
        let done = Int(progress.position.description) ?? 0
        let elsewhere = progress.process.map { $0 == progress.here ? "" : "by \($0)" } ?? ""
        bar.update(
          completed: done, detail: progress.waitsForCode ? "waiting for a service that has its code" : elsewhere)
      }
      bar.finish()
      let line = ProjectionLine(build: built, lag: try await catalog.lag(of: built))
      let output = StandardOutput()
      if store.json {
        output.line(line.json)
      } else {
        output.line(
          "\(name) version \(built.version) has caught up: \(Quantity.count(built.applied, "event")) in all, "
            + "\(Quantity.duration(start.duration(to: .now)))")
        output.line(
          built.role == .live
            ? "it is live: readers of \(catalog.viewSchema) see it"
            : "next: esctl projections compare \(name), then switch or abandon")
      }
      output.flush()
    }
  }
}

struct ProjectionsCompare: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Show what differs between the live tables and the new ones.",
    discussion: """
      Both at the same position of the log. Rows are found by their primary key and compared in the columns that both \
      have. Exit code 0: nothing differs; 7: something does, a further column too.

      Examples:
        esctl projections compare balance
        esctl projections compare balance --samples 3 --json
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: "The projection.")
  var name: String

  @Flag(help: "With the previous build, not the new one.")
  var previous = false

  @Option(help: "Show so many rows that differ, a table.")
  var samples = 5

  @Option(help: ArgumentHelp("Wait at most so long for both to be at the same position.", valueName: "seconds"))
  var timeout = 30.0

  func validate() throws {
    guard (0...100_000).contains(samples) else { throw ValidationError("--samples: expected 0 to 100000") }
    guard timeout >= 0, timeout <= 86_400 else { throw ValidationError("--timeout: expected 0 to 86400 seconds") }
  }

  func run() async throws {
    try await store.withLog(.maintain) { log in
      let result = try await CommandEnvironment.catalog(log).compare(
        name, with: previous ? .previous : .new, samples: samples, within: .seconds(timeout),
        code: CommandEnvironment.current.projections)
      let output = StandardOutput()
      if store.json { output.line(json(result)) } else { print(result, output) }
      output.flush()
      guard result.isSame else { throw ExitCode(ExitStatus.different.rawValue) }
    }
  }

  private var other: String { previous ? "previous" : "new" }

  private func print(_ result: ProjectionComparison, _ output: StandardOutput) {
    output.line(
      "\(name): live version \(result.liveVersion), \(other) version \(result.newVersion), both at position \(result.position)"
    )
    for table in result.tablesOnlyInLive { output.printable("table \(table): only in live") }
    for table in result.tablesOnlyInNew { output.printable("table \(table): only in \(other)") }
    for table in result.tables {
      output.line(
        "table \(table.table): \(Quantity.count(table.rowsInLive, "row")) live, \(Quantity.count(table.rowsInNew)) \(other)"
      )
      for column in table.columnsOnlyInLive { output.printable("  column \(column): only in live") }
      for column in table.columnsOnlyInNew { output.printable("  column \(column): only in \(other)") }
      for column in table.columnsOfOtherType { output.printable("  column \(column) (compared as text)") }
      if table.hasSameRows {
        output.line("  rows: the same in the columns that both have")
        continue
      }
      if !table.isByKey { output.line("  there is no primary key that both have: whole rows are compared") }
      output.line(
        "  rows only in live: \(Quantity.count(table.rowsOnlyInLive)), only in \(other): \(Quantity.count(table.rowsOnlyInNew)), "
          + "that differ: \(Quantity.count(table.rowsThatDiffer))")
      for sample in table.samples {
        if let live = sample.live { output.printable("  - \(live)", .red) }
        if let new = sample.new { output.printable("  + \(new)", .green) }
      }
    }
    output.line(result.isSame ? "nothing differs" : "they differ")
  }

  private func json(_ result: ProjectionComparison) -> JSONValue {
    func names(_ list: [String]) -> JSONValue { .array(list.map { .string($0) }) }
    func row(_ text: String?) -> JSONValue { text.map { .raw(Array($0.utf8)) } ?? .null }
    return .object([
      ("name", .string(name)), ("same", .boolean(result.isSame)), ("liveVersion", .integer(result.liveVersion)),
      ("\(other)Version", .integer(result.newVersion)), ("position", .integer(Int(result.position.description) ?? 0)),
      ("tablesOnlyInLive", names(result.tablesOnlyInLive)), ("tablesOnlyInNew", names(result.tablesOnlyInNew)),
      (
        "tables",
        .array(
          result.tables.map { table in
            .object([
              ("table", .string(table.table)), ("same", .boolean(table.isSame)),
              ("columnsOnlyInLive", names(table.columnsOnlyInLive)),
              ("columnsOnlyInNew", names(table.columnsOnlyInNew)),
              ("columnsOfOtherType", names(table.columnsOfOtherType)), ("rowsInLive", .integer(table.rowsInLive)),
              ("rowsInNew", .integer(table.rowsInNew)), ("rowsOnlyInLive", .integer(table.rowsOnlyInLive)),
              ("rowsOnlyInNew", .integer(table.rowsOnlyInNew)), ("rowsThatDiffer", .integer(table.rowsThatDiffer)),
              (
                "samples",
                .array(table.samples.map { .object([("live", row($0.live)), ("new", row($0.new))]) })
              ),
            ])
          })
      ),
    ])
  }
}
