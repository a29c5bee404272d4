internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Replay

struct Replay: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract:
      "Show what an aggregate was, at any version or time; fold history into a read model, or replay it elsewhere.",
    discussion: """
      Without a file: the state of the stream's declared aggregate; where none is declared, the latest of every field. \
      With --into: the rows of a read model's tables, folded in temporary tables. With --to or --exec: the events \
      themselves, a part of the log, in its order, each at least once. Nothing in the database changes.

      Examples:
        esctl replay account-42 --at-version 17
        esctl replay account-42 --at-time 2026-01-31 --json
        esctl replay account-42 --steps
        esctl replay account-42 --diff 17..40
        esctl replay account-42 --into balance.sql --at-version 17
        esctl replay --all --into balance.sql --json
        esctl replay --category account --into balance.sql --at-time 2026-01-31
        esctl replay --category account --since 2026-01-01 --dry-run
        esctl replay --all --after 1000 --type account.opened --to -
        esctl replay --all --exec './notify.sh' --rate 100 --resume replay.position
      """)
  @OptionGroup var store: StoreOptions

  @OptionGroup(title: "A part of the log, elsewhere")
  var history: HistoryOptions

  @Argument(help: "The stream, as category-id.")
  var stream: String?

  @Option(help: "The streams of this category. May be given more than once.")
  var category: [String] = []

  @Flag(help: "The whole log; of a file that names categories, those.")
  var all = false

  @Option(help: ArgumentHelp("The read model to fold into.", valueName: "file.sql"))
  var into: String?

  @Option(help: ArgumentHelp("As it was after this event of the stream.", valueName: "version"))
  var atVersion: Int?

  @Option(
    help: ArgumentHelp(
      "With everything that had happened by then: ISO 8601; a date means the end of that day, UTC.", valueName: "time"))
  var atTime: String?

  @Flag(help: "Show the change that each event made.")
  var steps = false

  @Option(help: ArgumentHelp("Show what changed between two versions; 0 is before the first.", valueName: "n..m"))
  var diff: String?

  @Option(help: "Connections that apply events where streams are independent. Default: one a core.")
  var workers: Int?

  func validate() throws {
    let scopes = [stream != nil, !category.isEmpty, all].count { $0 }
    guard scopes == 1 else { throw ValidationError("give one of: a stream, --category, --all") }
    if history.isAsked {
      guard into == nil, atVersion == nil, atTime == nil, !steps, diff == nil, workers == nil else {
        throw ValidationError(
          "--to, --exec and --dry-run are of the events themselves: not with --into, --at-*, --steps, --diff")
      }
      return
    }
    guard !history.strays else {
      throw ValidationError(
        "--after, --up-to, --since, --until, --type, --stream, --rate and --resume need --to, --exec or --dry-run")
    }
    guard stream != nil || into != nil else {
      throw ValidationError(
        "--category and --all fold into a read model: name its file with --into; or say with --to or --exec where to")
    }
    guard stream != nil || (atVersion == nil && !steps && diff == nil) else {
      throw ValidationError("--at-version, --steps and --diff are of one stream")
    }
    guard atVersion == nil || atTime == nil else { throw ValidationError("give --at-version or --at-time, not both") }
    guard diff == nil || (!steps && atVersion == nil && atTime == nil) else {
      throw ValidationError("--diff names its own versions")
    }
    if let atVersion, atVersion < 1 { throw ValidationError("--at-version \(atVersion): versions start at 1") }
    if let workers, !(1...64).contains(workers) { throw ValidationError("--workers: expected 1 to 64") }
    _ = try versions
  }

  /// Of `--diff`.
  private var versions: ClosedRange<Int>? {
    get throws {
      guard let diff else { return nil }
      let parts = diff.split(separator: "..", omittingEmptySubsequences: false)
      let bounds = parts.compactMap { Int($0) }
      guard parts.count == 2, bounds.count == 2, bounds[0] >= 0, bounds[0] < bounds[1] else {
        throw ValidationError("--diff \(diff): expected two versions, the earlier first, such as 17..40")
      }
      return bounds[0]...bounds[1]
    }
  }

  private var time: Date? { get throws { try atTime.map { try Timestamp.date(argument: $0, dateMeans: .endOfDay) } } }

  private var moment: Moment {
    get throws { try atVersion.map { .version($0) } ?? time.map { .time($0) } ?? .latest }
  }

  func run() async throws {
    if history.isAsked {
      var part = history
      if let stream { part.streams.append(stream) }
      let range = ReplayRange(options: part, store: store)
      return try await store.withLog(.read) { log in try await range.run(log, categories: category) }
    }
    let moment = try moment
    let name = try stream.map { try StreamName($0) }
    let model = try into.map { try ReadModel(String(decoding: TextFile.contents(of: $0), as: UTF8.self), file: $0) }
    try await store.withLog(.read) { log in
      let printer = ReplayPrinter(json: store.json)
      switch (name, model) {
      case (let name?, let model?): try await replay(name, at: moment, into: model, log, printer)
      case (let name?, nil): try await replay(name, at: moment, log, printer)
      case (nil, let model?): try await fold(into: model, log, printer)
      case (nil, nil): preconditionFailure("validated")
      }
      printer.output.flush()
    }
  }

  /// A declared aggregate's state, or the latest of every field.
  private func replay(
    _ name: StreamName, at moment: Moment, _ log: PostgreSQLEventLog, _ printer: ReplayPrinter
  ) async throws {
    let replay = CommandEnvironment.replay(of: name.category, in: log)
    if let versions = try versions {
      let after = try await replay.state(of: name, at: .version(versions.upperBound))
      let before =
        versions.lowerBound == 0
        ? Array("{}".utf8) : try await replay.state(of: name, at: .version(versions.lowerBound)).json
      printer.print(JSONChanges.between(before, after.json), of: name, versions)
    } else if steps {
      try await replay.steps(of: name, from: 1, at: moment) { step in printer.print(step.event, step.changes) }
    } else {
      printer.print(try await replay.state(of: name, at: moment), of: name, replay.name)
    }
  }

  private func replay(
    _ name: StreamName, at moment: Moment, into model: ReadModel, _ log: PostgreSQLEventLog, _ printer: ReplayPrinter
  ) async throws {
    let codec = CommandEnvironment.current.codec
    if let versions = try versions {
      printer.print(try await model.changes(of: name, between: versions, in: log, codec: codec), of: name, versions)
    } else if steps {
      try await model.withSteps(of: name, at: moment, in: log, codec: codec) { printer.print($0, $1) }
    } else {
      try await model.withFold(of: .stream(name, moment), in: log, codec: codec) { fold in
        try await fold.rows { printer.print($0) }
      }
    }
  }

  private func fold(into model: ReadModel, _ log: PostgreSQLEventLog, _ printer: ReplayPrinter) async throws {
    let until = try time
    let known = try await StoreInspection(log).categories()
    if let missing = category.first(where: { !known.contains($0) }) {
      throw CommandFailure(.notFound, "notFound", "there is no stream of category \(missing.debugDescription)")
    }
    let size = try await StoreInspection(log).size()
    let total = all && model.categories.isEmpty && size.estimatedEvents > 0 ? size.estimatedEvents : nil
    let bar = store.progressBar("replay", total: total, unit: .count("events"))
    let scope: ReplayScope = all ? .all(until: until) : .categories(category, until: until)
    try await model.withFold(
      of: scope, in: log, workers: workers, codec: CommandEnvironment.current.codec,
      progress: { bar.update(completed: $0) }
    ) { fold in
      bar.finish()
      try await fold.rows { rows in
        printer.print(rows)
        if StandardOutput.isLost { throw CancellationError() }
      }
    }
  }
}
