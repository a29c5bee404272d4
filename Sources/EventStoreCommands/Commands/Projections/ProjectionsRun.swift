internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Projections
internal import Replay

struct ProjectionsCheck: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check", abstract: "Check a read model's file: syntax, tables, statements, event types.",
    discussion: """
      PostgreSQL makes the tables and plans the statements, in a transaction that is never committed.

      Example:
        esctl projections check balance.sql
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: ArgumentHelp("The read model.", valueName: "file.sql"))
  var file: String

  func run() async throws {
    let model = try readModel(file)
    try await store.withLog(.inspect) { log in
      let tables = try await model.check(in: log)
      let unknown = try await model.unknownTypes(in: log)
      let output = StandardOutput()
      if store.json {
        output.line(
          .object([
            ("name", .string(model.name)), ("version", .integer(model.version)),
            ("tables", .array(tables.map { .string($0) })), ("types", .array(model.types.map { .string($0) })),
            (
              "unknownTypes",
              .array(unknown.map { .object([("type", .string($0.type)), ("nearest", .optional($0.nearest))]) })
            ),
          ]))
      } else {
        try await warnOfUnknownTypes(model, log, store)
        output.line(
          "\(model.name) version \(model.version): \(tables.count == 1 ? "table" : "tables") \(tables.joined(separator: ", "))"
        )
      }
      output.flush()
    }
  }
}

struct ProjectionsRun: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Run projections: the store's own, and files that are new to it.",
    discussion: """
      A file that is new is written down in the store and goes live once it has caught up. Then all projections of the \
      store that are files run here, as long as nobody else runs them; start it twice for a standby that takes over. Ends \
      on SIGINT and SIGTERM, after what is under way.

      Examples:
        esctl projections run balance.sql
        esctl projections run --only balance
        esctl projections run balance.sql --until-caught-up
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: ArgumentHelp("Read models to write down first.", valueName: "file.sql"))
  var files: [String] = []

  @Option(help: ArgumentHelp("Only this projection. May be given more than once.", valueName: "name"))
  var only: [String] = []

  @Flag(help: "End when all of them have reached the end of the log; exit code 1 if one has stopped.")
  var untilCaughtUp = false

  @Option(help: "Connections that load history where streams are independent. Default: one a core.")
  var workers: Int?

  func validate() throws {
    if let workers, !(1...16).contains(workers) { throw ValidationError("--workers: expected 1 to 16") }
  }

  func run() async throws {
    let models = try readModels(files)
    try await store.withLog(models.isEmpty ? .maintain : .write) { log in try await run(models, log) }
  }

  private func run(_ models: [ReadModel], _ log: PostgreSQLEventLog) async throws {
    let catalog = CommandEnvironment.catalog(log)
    for model in models {
      try await warnOfUnknownTypes(model, log, store)
      try await catalog.register(model)
    }
    let known = Set(try await catalog.builds().map(\.name)).sorted()
    for name in only where !known.contains(name) { throw ProjectionError.notFound(name: name, known: known) }
    var runner = ProjectionRunner(
      log, CommandEnvironment.current.projections, codec: CommandEnvironment.current.codec)
    runner.options.only = Set(only)
    if let workers { runner.options.connections = workers }
    try await run(runner, catalog)
    guard untilCaughtUp else { return }
    let builds = try await catalog.builds()
    if builds.contains(where: { $0.failure != nil && (only.isEmpty || only.contains($0.name)) }) {
      throw ExitCode(ExitStatus.failed.rawValue)
    }
  }

  /// Runs and watches: until all is done, where that was asked for, else until interrupted.
  private func run(_ runner: ProjectionRunner, _ catalog: ProjectionCatalog) async throws {
    let environment = CommandEnvironment.current
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await runner.run() }
      group.addTask { try await CommandEnvironment.$current.withValue(environment) { try await watch(catalog) } }
      // Whichever ends first ends the other: the runner finishes what is under way.
      try await group.next()
      group.cancelAll()
    }
  }

  /// Prints what changes: a line a change of state.
  private func watch(_ catalog: ProjectionCatalog) async throws {
    var states: [Int: String] = [:]
    let output = StandardOutput()
    while !Task.isCancelled {
      // While the server is away the runner waits; so does who watches it.
      guard let all = try? await catalog.builds() else {
        try? await Task.sleep(for: .seconds(1))
        continue
      }
      let builds = all.filter { only.isEmpty || only.contains($0.name) }
      for build in builds where build.state != .idle {
        let state = "\(build.role.rawValue) \(build.state.rawValue)"
        guard states.updateValue(state, forKey: build.number) != state else { continue }
        guard let lag = try? await catalog.lag(of: build) else { continue }
        let line = ProjectionLine(build: build, lag: lag)
        if store.json {
          output.line(line.json)
        } else {
          let detail = build.failure.map { ": \($0)" } ?? " at position \(build.position)"
          output.printable(
            "\(build.name) version \(build.version) (\(build.role.rawValue)) \(build.state.rawValue)\(detail)")
        }
        output.flush()
      }
      if untilCaughtUp, (try? await isDone(builds, catalog)) == true { return }
      // Interrupted: that is how it ends.
      try? await Task.sleep(for: .milliseconds(untilCaughtUp ? 50 : 250))
    }
    if untilCaughtUp { throw CancellationError() }
  }

  private func isDone(_ builds: [ProjectionBuild], _ catalog: ProjectionCatalog) async throws -> Bool {
    for build in builds where build.failure == nil && build.pausedAt == nil {
      guard
        build.kind == .sql
          || CommandEnvironment.current.projections.contains(where: {
            $0.name == build.name && $0.version == build.version
          })
      else { continue }
      guard build.caughtUpAt != nil, !(build.role == .new && build.goesLive) else { return false }
      guard try await catalog.lag(of: build, countingTo: 1).events == 0 else { return false }
    }
    return true
  }
}

struct ProjectionsStatus: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "How far each projection is, who runs it, what is wrong.",
    discussion: """
      Exit code 1 when one has stopped.

      Examples:
        esctl projections status
        esctl projections status balance --watch
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: "One projection.")
  var name: String?

  @Flag(help: "Go on showing it, until interrupted.")
  var watch = false

  @Option(help: "With --watch: every so many seconds.")
  var interval = 1.0

  func validate() throws {
    guard interval >= 0.05, interval <= 3600 else { throw ValidationError("--interval: expected 0.05 to 3600 seconds") }
  }

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let catalog = CommandEnvironment.catalog(log)
      guard watch else {
        let lines = try await ProjectionLine.all(catalog, of: name)
        Self.print(lines, json: store.json, StandardOutput())
        if lines.contains(where: { $0.build.failure != nil }) { throw ExitCode(ExitStatus.failed.rawValue) }
        return
      }
      let (json, name) = (store.json, name)
      try await store.show(every: interval) { output in
        Self.print(try await ProjectionLine.all(catalog, of: name), json: json, output)
      }
    }
  }

  static func print(_ lines: [ProjectionLine], json: Bool, _ output: StandardOutput) {
    if json {
      for line in lines { output.line(line.json) }
    } else if lines.isEmpty {
      output.line("no projections: `esctl projections run FILE.sql` makes one")
    } else {
      var table = Table(ProjectionLine.columns)
      for line in lines { table.append(line.cells) }
      output.text(table.text(for: output.terminal))
      for line in lines {
        if let failure = line.build.failure {
          output.printable("\(line.build.name) version \(line.build.version) has stopped: \(failure)", .red)
          output.line("  mend the cause, then: esctl projections resume \(line.build.name)")
        } else if line.build.state == .idle, line.lag.events > 0 {
          output.line(
            "\(line.build.name) version \(line.build.version) is behind, and nobody runs it: esctl projections run")
        } else if line.build.role == .new, line.build.caughtUpAt != nil {
          output.line(
            "\(line.build.name) version \(line.build.version) has caught up: compare, then switch or abandon it")
        }
      }
    }
    output.flush()
  }
}

struct ProjectionsWait: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait", abstract: "Wait until the live projection has applied what was appended.",
    discussion: """
      Exit code 8 when it has not in time.

      Examples:
        esctl projections wait balance
        esctl projections wait balance --position 1234 --timeout 30
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: "The projection.")
  var name: String

  @Option(help: "The position to reach. Default: where the log ends now.")
  var position: String?

  @Option(help: ArgumentHelp("Wait at most so long.", valueName: "seconds"))
  var timeout = 10.0

  func validate() throws {
    guard timeout >= 0, timeout <= 86_400 else { throw ValidationError("--timeout: expected 0 to 86400 seconds") }
    if let position, Position(position) == nil {
      throw ValidationError("--position \(position): expected a number from 0")
    }
  }

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let reached = try await CommandEnvironment.catalog(log).wait(
        for: name, toReach: position.flatMap { Position($0) }, within: .seconds(timeout))
      let output = StandardOutput()
      if store.json {
        output.line(.object([("name", .string(name)), ("position", .integer(Int(reached.description) ?? 0))]))
      } else {
        output.line("\(name) has applied everything up to position \(reached)")
      }
      output.flush()
    }
  }
}
