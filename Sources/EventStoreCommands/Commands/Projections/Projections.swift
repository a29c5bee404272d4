internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Projections
internal import Replay

struct Projections: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run read models, rebuild them beside the live ones, compare, switch.",
    discussion: """
      A read model is a .sql file (see docs/read-models.md), or in the code of a service. Readers use the views in the \
      schema <store>_views, here eventstore_views.

      Examples, a change without downtime:
        esctl projections run balance.sql                       # live at once
        esctl projections rebuild balance --file balance-v2.sql # beside it
        esctl projections compare balance                       # 7: they differ
        esctl projections switch balance                        # from one moment on
        esctl projections rollback balance                      # or not
        esctl projections retire balance                        # no way back any more
      """,
    subcommands: [
      ProjectionsList.self, ProjectionsShow.self, ProjectionsCheck.self, ProjectionsRun.self, ProjectionsStatus.self,
      ProjectionsWait.self, ProjectionsPause.self, ProjectionsResume.self, ProjectionsRebuild.self,
      ProjectionsCompare.self, ProjectionsSwitch.self, ProjectionsRollback.self, ProjectionsAbandon.self,
      ProjectionsRetire.self, ProjectionsSkipped.self, ProjectionsReset.self,
    ])
}

extension CommandEnvironment {
  static func catalog(_ log: PostgreSQLEventLog) -> ProjectionCatalog { ProjectionCatalog(log, codec: current.codec) }
}

/// A read model's file, by its path.
func readModel(_ path: String) throws -> ReadModel {
  try ReadModel(String(decoding: TextFile.contents(of: path), as: UTF8.self), file: path)
}

/// Not inlined: Swift 6.3's optimiser crashes when this loop is part of an asynchronous function.
@inline(never)
func readModels(_ paths: [String]) throws -> [ReadModel] { try paths.map { try readModel($0) } }

/// Says so on standard error; nothing is wrong yet.
func warnOfUnknownTypes(_ model: ReadModel, _ log: PostgreSQLEventLog, _ store: StoreOptions) async throws {
  for unknown in try await model.unknownTypes(in: log) {
    let meant = unknown.nearest.map { "; is \($0) meant?" } ?? ""
    store.notice(
      TextWidth.printable("warning: \(model.file): no event of type \(unknown.type) was found in the log\(meant)"))
  }
}

/// A build and its lag, as commands show them.
struct ProjectionLine {
  let build: ProjectionBuild
  let lag: ProjectionCatalog.Lag

  static let columns: [Table.Column] = [
    .init("projection"), .init("version", .right), .init("role"), .init("state"), .init("behind", .right),
    .init("lag", .right), .init("events/s", .right), .init("position", .right), .init("runs in"),
  ]

  var cells: [String] {
    [
      build.name, "\(build.version)", build.role.rawValue, build.state.rawValue, behind, seconds,
      build.process == nil ? "" : Quantity.count(build.rate), build.position.description, build.process ?? "",
    ]
  }

  var behind: String { lag.events > 10_000 ? "> \(Quantity.count(10_000))" : Quantity.count(lag.events) }
  var seconds: String { lag.events == 0 ? "0" : Quantity.duration(.seconds(lag.seconds)) }

  var json: JSONValue {
    func time(_ date: Date?) -> JSONValue { .optional(date.map { Timestamp.text($0) }) }
    return .object([
      ("name", .string(build.name)), ("version", .integer(build.version)), ("role", .string(build.role.rawValue)),
      ("state", .string(build.state.rawValue)), ("kind", .string(build.kind.rawValue)),
      ("build", .integer(build.number)), ("position", .integer(Int(build.position.description) ?? 0)),
      ("end", .integer(Int(lag.end.description) ?? 0)), ("behind", .integer(lag.events)),
      ("behindIsExact", .boolean(lag.events <= 10_000)), ("lagSeconds", .number(lag.seconds)),
      ("applied", .integer(build.applied)), ("rate", .integer(build.rate)), ("process", .optional(build.process)),
      ("caughtUpAt", time(build.caughtUpAt)), ("pausedAt", time(build.pausedAt)), ("liveSince", time(build.liveSince)),
      ("failure", failure),
    ])
  }

  private var failure: JSONValue {
    guard let failure = build.failure else { return .null }
    return .object([
      ("position", .optional(failure.position.map { Int($0.description) ?? 0 })), ("stream", .optional(failure.stream)),
      ("version", .optional(failure.version)), ("type", .optional(failure.type)), ("problem", .string(failure.problem)),
      ("at", .string(Timestamp.text(failure.at))),
    ])
  }

  static func all(_ catalog: ProjectionCatalog, of name: String? = nil) async throws -> [ProjectionLine] {
    let builds = try await catalog.builds(of: name)
    if let name, builds.isEmpty {
      throw ProjectionError.notFound(name: name, known: Set(try await catalog.builds().map(\.name)).sorted())
    }
    var lines: [ProjectionLine] = []
    for build in builds { lines.append(ProjectionLine(build: build, lag: try await catalog.lag(of: build))) }
    return lines
  }
}

struct ProjectionsList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "The projections of the store.",
    discussion: "Example:\n  esctl projections list --json")
  @OptionGroup var store: StoreOptions

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let lines = try await ProjectionLine.all(CommandEnvironment.catalog(log))
      ProjectionsStatus.print(lines, json: store.json, StandardOutput())
    }
  }
}

struct ProjectionsShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "One projection: its builds, where their tables are, where to read.",
    discussion: "Examples:\n  esctl projections show balance\n  esctl projections show balance --source")
  @OptionGroup var store: StoreOptions

  @Argument(help: "The projection.")
  var name: String

  @Flag(help: "Print the file of the live build (of the new one, where none is live).")
  var source = false

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let catalog = CommandEnvironment.catalog(log)
      let lines = try await ProjectionLine.all(catalog, of: name)
      let output = StandardOutput()
      if source {
        guard let shown = lines.first(where: { $0.build.role == .live }) ?? lines.first,
          let text = try await catalog.source(of: shown.build)
        else { throw CommandFailure(.notFound, "noSource", "projection \(name) is in code: it has no file") }
        if store.json {
          output.line(
            .object([("name", .string(name)), ("version", .integer(shown.build.version)), ("source", .string(text))]))
        } else {
          output.exactly(text)
        }
        return output.flush()
      }
      for (index, line) in lines.enumerated() {
        let build = line.build
        let tables = build.kind == .external ? nil : build.tableSchema(of: log.configuration.schema)
        let views = build.role == .live && tables != nil ? catalog.viewSchema : nil
        if store.json, case .object(let members) = line.json {
          output.line(
            .object(
              members + [
                ("tables", .optional(tables)), ("views", .optional(views)), ("origin", .string(build.origin)),
                ("createdAt", .string(Timestamp.text(build.createdAt))),
              ]))
          continue
        }
        if index > 0 { output.line("") }
        output.line(output.terminal.styled("\(build.name) version \(build.version), \(build.role.rawValue)", .bold))
        output.printable("state     \(build.state.rawValue)\(build.process.map { " in \($0)" } ?? "")")
        if let failure = build.failure { output.printable("stopped   \(failure)") }
        output.line(
          "position  \(build.position) of \(line.lag.end), \(line.behind) event\(line.lag.events == 1 ? "" : "s") behind, lag \(line.seconds)"
        )
        output.line("applied   \(Quantity.count(build.applied, "event"))")
        output.printable("made of   \(build.origin)\(build.kind == .sql ? " (print it with --source)" : "")")
        if let tables { output.line("tables    \(tables)") }
        if let views { output.line("read it   \(views)") }
        output.line("built     \(Timestamp.text(build.createdAt))")
        if let live = build.liveSince { output.line("live      \(Timestamp.text(live))") }
      }
      output.flush()
    }
  }
}
