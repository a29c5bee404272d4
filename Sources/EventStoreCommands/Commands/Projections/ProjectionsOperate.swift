internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Projections
internal import Replay

/// What is done to one projection, and what is said when it was.
struct ProjectionArgument: ParsableArguments {
  @Argument(help: "The projection.")
  var name: String
}

extension StoreOptions {
  /// Does something to a projection, and says so.
  func operate(
    _ name: String, _ access: Access, _ action: String, _ said: String, _ body: (ProjectionCatalog) async throws -> Void
  ) async throws {
    try await withLog(access) { log in
      try await body(CommandEnvironment.catalog(log))
      let output = StandardOutput()
      output.line(
        json ? .object([("name", .string(name)), ("done", .string(action))]) : .null, or: "\(name): \(said)", json: json
      )
      output.flush()
    }
  }
}

struct ProjectionsPause: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pause", abstract: "Hold a projection where it is. Readers go on reading.",
    discussion: "Example:\n  esctl projections pause balance")
  @OptionGroup var store: StoreOptions
  @OptionGroup var projection: ProjectionArgument

  func run() async throws {
    try await store.operate(projection.name, .inspect, "paused", "paused; its lag grows until it is resumed") {
      try await $0.pause(projection.name)
    }
  }
}

struct ProjectionsResume: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resume", abstract: "Let a projection that is paused or has stopped go on.",
    discussion: "Example:\n  esctl projections resume balance")
  @OptionGroup var store: StoreOptions
  @OptionGroup var projection: ProjectionArgument

  func run() async throws {
    try await store.operate(
      projection.name, .inspect, "resumed", "resumed; it goes on where somebody runs it (`esctl projections run`)"
    ) { try await $0.resume(projection.name) }
  }
}

struct ProjectionsSwitch: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "switch", abstract: "Make the new build live, in one transaction.",
    discussion: """
      Readers of the views see the old tables up to then and the new ones from then on. The old build is kept, and kept \
      up to date, as the previous one: rollback goes back to it, retire removes it.

      Example:
        esctl projections switch balance
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var projection: ProjectionArgument

  @Option(help: ArgumentHelp("Wait at most so long for readers to let go of the views.", valueName: "seconds"))
  var timeout = 30.0

  func validate() throws {
    guard timeout >= 0, timeout <= 86_400 else { throw ValidationError("--timeout: expected 0 to 86400 seconds") }
  }

  func run() async throws {
    try await store.operate(
      projection.name, .maintain, "switched", "switched; `rollback` goes back, `retire` removes the previous build"
    ) { catalog in
      try await catalog.switchOver(
        projection.name, within: .seconds(timeout), code: CommandEnvironment.current.projections)
    }
  }
}

struct ProjectionsRollback: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rollback", abstract: "Make the previous build live again, in one transaction.",
    discussion: """
      The other one becomes the new build: switch to it again, or abandon it.

      Example:
        esctl projections rollback balance
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var projection: ProjectionArgument

  @Option(help: ArgumentHelp("Wait at most so long for readers to let go of the views.", valueName: "seconds"))
  var timeout = 30.0

  func validate() throws {
    guard timeout >= 0, timeout <= 86_400 else { throw ValidationError("--timeout: expected 0 to 86400 seconds") }
  }

  func run() async throws {
    try await store.operate(
      projection.name, .maintain, "rolledBack", "rolled back; the other build is the new one again"
    ) { catalog in
      try await catalog.rollback(
        projection.name, within: .seconds(timeout), code: CommandEnvironment.current.projections)
    }
  }
}

struct ProjectionsAbandon: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "abandon", abstract: "Remove the new build, without trace. The live one is not touched.",
    discussion: "Example:\n  esctl projections abandon balance")
  @OptionGroup var store: StoreOptions
  @OptionGroup var projection: ProjectionArgument

  func run() async throws {
    try await store.operate(projection.name, .inspect, "abandoned", "the new build is gone") {
      try await $0.abandon(projection.name)
    }
  }
}

struct ProjectionsRetire: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retire", abstract: "Remove the previous build: there is no way back to it any more.",
    discussion: "Example:\n  esctl projections retire balance")
  @OptionGroup var store: StoreOptions
  @OptionGroup var projection: ProjectionArgument

  func run() async throws {
    try await store.operate(projection.name, .inspect, "retired", "the previous build is gone") {
      try await $0.retire(projection.name)
    }
  }
}

struct ProjectionsReset: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "reset", abstract: "Empty the live tables and fill them again, in sight of readers.",
    discussion: """
      For development. `rebuild` is the way without downtime.

      Example:
        esctl projections reset balance --yes
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var projection: ProjectionArgument

  @Flag(help: "Readers may see it half-filled.")
  var yes = false

  func validate() throws {
    guard yes else {
      throw ValidationError("readers would see \(projection.name) half-filled: say --yes, or use `rebuild`")
    }
  }

  func run() async throws {
    try await store.operate(projection.name, .inspect, "reset", "emptied; it is filled again where somebody runs it") {
      try await $0.reset(projection.name)
    }
  }
}

struct ProjectionsSkipped: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "skipped", abstract: "Events that a projection could not apply and passed over.",
    discussion: """
      Examples:
        esctl projections skipped list balance
        esctl projections skipped retry balance --all
      """,
    subcommands: [SkippedList.self, SkippedShow.self, SkippedRetry.self])
}

/// A skipped event, as commands show it.
private func skippedJSON(_ event: SkippedEvent) -> [(String, JSONValue)] {
  [
    ("name", .string(event.projection)), ("build", .integer(event.build)), ("role", .string(event.role.rawValue)),
    ("position", .integer(Int(event.position.description) ?? 0)), ("stream", .string(event.stream)),
    ("version", .integer(event.version)), ("type", .string(event.type)),
    ("id", .string(event.id.uuidString.lowercased())), ("problem", .string(event.problem)),
    ("at", .string(Timestamp.text(event.at))),
  ]
}

struct SkippedList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "The skipped events, in the order of the log.",
    discussion: "Example:\n  esctl projections skipped list balance --json")
  @OptionGroup var store: StoreOptions

  @Argument(help: "Of one projection.")
  var name: String?

  @Option(help: "At most so many.")
  var limit = 1000

  func validate() throws {
    guard (1...1_000_000).contains(limit) else { throw ValidationError("--limit: expected 1 to 1000000") }
  }

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let events = try await CommandEnvironment.catalog(log).skipped(of: name, limit: limit)
      let output = StandardOutput()
      if store.json {
        for event in events { output.line(.object(skippedJSON(event))) }
      } else if events.isEmpty {
        output.line("no event was skipped")
      } else {
        var table = Table([
          .init("projection"), .init("role"), .init("position", .right), .init("stream"), .init("version", .right),
          .init("type"), .init("problem"),
        ])
        for event in events {
          table.append([
            event.projection, event.role.rawValue, event.position.description, event.stream, "\(event.version)",
            event.type, event.problem,
          ])
        }
        output.text(table.text(for: output.terminal))
      }
      output.flush()
    }
  }
}

/// One skipped event.
struct SkippedArgument: ParsableArguments {
  @Argument(help: "The projection.")
  var name: String

  func events(at position: Position?, _ catalog: ProjectionCatalog) async throws -> [SkippedEvent] {
    var events: [SkippedEvent] = []
    var last = Position.start
    while true {
      var page = try await catalog.skipped(of: name, after: last, limit: 1000)
      let end = page.count == 1000 ? page.last?.position : nil
      // Several builds may have skipped the last one, and the page have room for one of them: it comes with the next page.
      if let end { page.removeAll { $0.position == end } }
      events += page.filter { position == nil || $0.position == position }
      guard end != nil, let before = page.last else { break }
      last = before.position
    }
    if let position, events.isEmpty {
      throw CommandFailure(.notFound, "notFound", "projection \(name) has not skipped an event at position \(position)")
    }
    return events
  }
}

struct SkippedShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "One skipped event, with its payload.",
    discussion: "Example:\n  esctl projections skipped show balance 1234")
  @OptionGroup var store: StoreOptions
  @OptionGroup var projection: SkippedArgument

  @Argument(help: "Its position.")
  var position: String

  func validate() throws {
    guard Position(position) != nil else { throw ValidationError("position \(position): expected a number from 0") }
  }

  func run() async throws {
    try await store.withLog(.read) { log in
      let events = try await projection.events(at: Position(position), CommandEnvironment.catalog(log))
      let output = StandardOutput()
      for event in events {
        let name = try StreamName(event.stream)
        let recorded = try await log.read(name, StreamRange(versions: event.version...event.version)).collect().first
        if store.json {
          var members = skippedJSON(event)
          if let recorded {
            var bytes: [UInt8] = []
            EventJSON.append(recorded, to: &bytes)
            members.append(("event", .raw(bytes)))
          }
          output.line(.object(members))
        } else {
          output.printable(
            "\(event.type), \(event.stream) version \(event.version), position \(event.position), \(event.role.rawValue) build"
          )
          output.line("skipped  \(Timestamp.text(event.at))")
          output.printable("problem  \(event.problem)")
          if let recorded, case .success(let payload) = recorded.payload, payload.content == .json {
            output.printable("data     \(String(decoding: payload.bytes, as: UTF8.self))")
          } else if let recorded, case .failure(let error) = recorded.payload {
            output.printable("data     \(error)")
          }
        }
      }
      output.flush()
    }
  }
}

struct SkippedRetry: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retry", abstract: "Apply skipped events now, after those that came later.",
    discussion: """
      Each in a transaction that also strikes it from the list; one that still cannot be applied stays there, and the exit \
      code is 1.

      Examples:
        esctl projections skipped retry balance --position 1234
        esctl projections skipped retry balance --all
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var projection: SkippedArgument

  @Option(help: "The event at this position.")
  var position: String?

  @Flag(help: "All of them, in order.")
  var all = false

  func validate() throws {
    guard (position == nil) == all else { throw ValidationError("give --position or --all") }
    if let position, Position(position) == nil {
      throw ValidationError("--position \(position): expected a number from 0")
    }
  }

  func run() async throws {
    try await store.withLog(.maintain) { log in
      let catalog = CommandEnvironment.catalog(log)
      var (applied, failed) = (0, 0)
      for event in try await projection.events(at: position.flatMap { Position($0) }, catalog) {
        do {
          try await catalog.retry(event, code: CommandEnvironment.current.projections)
          applied += 1
        } catch is CancellationError {
          throw CancellationError()
        } catch {
          failed += 1
          store.notice(TextWidth.printable("position \(event.position): \(CommandFailure(error))"))
        }
      }
      let output = StandardOutput()
      if store.json {
        output.line(.object([("applied", .integer(applied)), ("failed", .integer(failed))]))
      } else {
        output.line("applied \(applied)\(failed > 0 ? ", \(failed) still cannot be" : "")")
      }
      output.flush()
      if failed > 0 { throw ExitCode(ExitStatus.failed.rawValue) }
    }
  }
}
