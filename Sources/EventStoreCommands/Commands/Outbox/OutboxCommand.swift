internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Outbox

struct OutboxCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "outbox",
    abstract: "Consumer groups: every event to each of them, in order by stream, to any number of consumers.",
    discussion: """
      A group is a cursor over the log: it costs an append nothing. See docs/outbox.md.

      Examples:
        esctl outbox groups create mailer --category account --type 'account.*'
        esctl outbox consume mailer --exec './mail.sh'   # 0: handled
        esctl outbox lag --watch
        esctl outbox parked fingerprints mailer          # what failed
        esctl outbox parked retry mailer --all
        esctl outbox schedule add order-7 --type order.reminded --data '{}' --in 3600
      """,
    subcommands: [
      GroupsCommand.self, OutboxLag.self, OutboxMembers.self, OutboxPause.self, OutboxResume.self, OutboxSeek.self,
      OutboxPeek.self, OutboxConsume.self, ParkedCommand.self, OutboxReplay.self, ScheduleCommand.self,
      OutboxAudit.self,
      OutboxBench.self,
    ])
}

struct GroupArgument: ParsableArguments {
  @Argument(help: "The consumer group.")
  var name: String
}

extension JSONValue {
  static func position(_ position: Position) -> JSONValue { .integer(Int(position.description) ?? 0) }
}

/// A group as commands show it.
struct GroupLine {
  let status: ConsumerGroups.Status
  let lag: GroupLag

  static func all(_ groups: ConsumerGroups, _ name: String?) async throws -> [GroupLine] {
    let statuses = if let name { [try await groups.status(of: name)] } else { try await groups.all() }
    var lines: [GroupLine] = []
    for status in statuses { lines.append(GroupLine(status: status, lag: try await groups.lag(of: status))) }
    return lines
  }

  static let columns: [Table.Column] = [
    .init("group"), .init("state"), .init("behind", .right), .init("lag", .right), .init("keys behind", .right),
    .init("held", .right), .init("parked", .right), .init("handled", .right), .init("members", .right),
    .init("position", .right),
  ]

  var behind: String { lag.events > 100_000 ? "> \(Quantity.count(100_000))" : Quantity.count(lag.events) }

  var cells: [String] {
    [
      status.group.name, status.state.rawValue, behind,
      lag.events == 0 ? "0" : Quantity.duration(.seconds(lag.seconds)), Quantity.count(status.keysBehind),
      Quantity.count(status.keysHeld), Quantity.count(status.parked), Quantity.count(status.handled),
      "\(status.members)", status.position.description,
    ]
  }

  var json: [(String, JSONValue)] {
    [
      ("name", .string(status.group.name)), ("state", .string(status.state.rawValue)),
      ("position", .position(status.position)), ("end", .position(lag.end)), ("behind", .integer(lag.events)),
      ("behindIsExact", .boolean(lag.events <= 100_000)), ("lagSeconds", .number(lag.seconds)),
      ("keysBehind", .integer(status.keysBehind)), ("keysHeld", .integer(status.keysHeld)),
      ("deferred", .integer(status.deferred)), ("parked", .integer(status.parked)),
      ("handled", .integer(status.handled)), ("members", .integer(status.members)),
      ("pausedAt", .optional(status.pausedAt.map { Timestamp.text($0) })),
      ("failure", .optional(status.failure.map { $0.description })),
    ]
  }
}

struct OutboxLag: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lag", abstract: "How far groups are behind.",
    discussion: """
      Examples:
        esctl outbox lag
        esctl outbox lag mailer --watch
        esctl outbox lag --json
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: "Of one group.")
  var name: String?

  @Flag(help: "Again and again, until interrupted.")
  var watch = false

  @Option(help: ArgumentHelp("With --watch: how often.", valueName: "seconds"))
  var interval = 1.0

  func validate() throws {
    guard (0.1...3600).contains(interval) else { throw ValidationError("--interval: expected 0.1 to 3600 seconds") }
  }

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let (store, name) = (store, name)
      try await store.show(every: watch ? interval : nil) {
        try await Self.print(ConsumerGroups(log), name, store.json, $0)
      }
    }
  }

  static func print(_ groups: ConsumerGroups, _ name: String?, _ json: Bool, _ output: StandardOutput) async throws {
    let lines = try await GroupLine.all(groups, name)
    if json {
      for line in lines { output.line(.object(line.json)) }
    } else if lines.isEmpty {
      output.line("there is no consumer group (`esctl outbox groups create NAME` makes one)")
    } else {
      var table = Table(GroupLine.columns)
      for line in lines { table.append(line.cells) }
      output.text(table.text(for: output.terminal))
    }
  }
}

struct OutboxMembers: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "members", abstract: "The consumers of a group, and what they say of themselves.",
    discussion: "Example:\n  esctl outbox members mailer")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let members = try await ConsumerGroups(log).members(of: group.name)
      let output = StandardOutput()
      if store.json {
        for member in members {
          let status = member.status
          output.line(
            .object([
              ("id", .string(member.id)), ("process", .string(member.process)),
              ("joinedAt", .string(Timestamp.text(member.joinedAt))), ("lives", .boolean(member.lives)),
              ("leaseSeconds", .number(member.leaseSeconds)), ("shards", .integer(member.shards)),
              ("inFlight", .integer(status.inFlight)), ("waiting", .integer(status.waiting)),
              ("keysBehind", .integer(status.keysBehind)), ("rate", .number(status.rate)),
              ("failures", .number(status.failures)), ("parked", .integer(status.parked)),
              ("handlerP50", .optional(status.handlerP50)), ("handlerP99", .optional(status.handlerP99)),
              ("breakerIsOpen", .boolean(status.isBreakerOpen)), ("concurrency", .integer(status.concurrency)),
            ]))
        }
      } else if members.isEmpty {
        output.line("group \(group.name) has no consumer (`esctl outbox consume \(group.name) --exec …`)")
      } else {
        var table = Table([
          .init("process"), .init("state"), .init("shards", .right), .init("in flight", .right),
          .init("waiting", .right), .init("events/s", .right), .init("failures/s", .right), .init("p50", .right),
          .init("p99", .right), .init("since"),
        ])
        for member in members {
          let status = member.status
          func time(_ seconds: Double?) -> String { seconds.map { Quantity.duration(.seconds($0)) } ?? "" }
          table.append([
            member.process, !member.lives ? "dead" : status.isBreakerOpen ? "breaker open" : "alive",
            "\(member.shards)",
            "\(status.inFlight)", Quantity.count(status.waiting), Quantity.count(Int(status.rate)),
            Quantity.count(Int(status.failures)), time(status.handlerP50), time(status.handlerP99),
            Timestamp.text(member.joinedAt),
          ])
        }
        output.text(table.text(for: output.terminal))
      }
      output.flush()
    }
  }
}

struct OutboxPause: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pause", abstract: "Let a group start nothing more, within a second or two.",
    discussion: "Example:\n  esctl outbox pause mailer")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  func run() async throws {
    try await store.operate(on: group.name, "paused", "paused; its lag grows until it is resumed") {
      try await $0.pause(group.name)
    }
  }
}

struct OutboxResume: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resume", abstract: "Let a group that is paused or has stopped go on.",
    discussion: "Example:\n  esctl outbox resume mailer")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  func run() async throws {
    try await store.operate(on: group.name, "resumed", "resumed") { try await $0.resume(group.name) }
  }
}

extension StoreOptions {
  /// Does something to a group, and says so.
  func operate(
    on name: String, _ action: String, _ said: String, _ body: (ConsumerGroups) async throws -> Void
  ) async throws {
    try await withLog(.inspect) { log in
      try await body(ConsumerGroups(log))
      let output = StandardOutput()
      output.line(
        .object([("name", .string(name)), ("done", .string(action))]), or: "\(name): \(said)", json: json)
      output.flush()
    }
  }
}

struct OutboxSeek: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "seek", abstract: "Let a group go on elsewhere in the log.",
    discussion: """
      Its consumers let go of what they have and begin there. Events that were to be tried again are forgotten; dead \
      letters stay.

      Examples:
        esctl outbox seek mailer --to beginning
        esctl outbox seek mailer --to end
        esctl outbox seek mailer --to 120000          # after this position
        esctl outbox seek mailer --to 2026-11-01T00:00:00Z
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  @Option(help: ArgumentHelp("beginning, end, a position (what comes after it), or a time.", valueName: "place"))
  var to: String

  func validate() throws { _ = try GroupStart(argument: to) }

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let position = try await ConsumerGroups(log).seek(group.name, to: GroupStart(argument: to))
      let output = StandardOutput()
      output.line(
        .object([("name", .string(group.name)), ("position", .position(position))]),
        or: "\(group.name): goes on after position \(position)", json: store.json)
      output.flush()
    }
  }
}

extension GroupStart {
  init(argument: String) throws {
    switch argument {
    case "beginning": self = .beginning
    case "end": self = .end
    default:
      if let position = Position(argument) {
        self = .after(position)
      } else {
        do {
          self = .since(try Timestamp.date(argument: argument, dateMeans: .startOfDay))
        } catch {
          throw ValidationError("expected beginning, end, a position or a time: \(error)")
        }
      }
    }
  }
}

struct OutboxPeek: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "peek", abstract: "The next events that a group would get. Nothing is moved.",
    discussion: "Example:\n  esctl outbox peek mailer --limit 5 --json")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  @Option(help: "At most so many.")
  var limit = 10

  func validate() throws {
    guard (1...100_000).contains(limit) else { throw ValidationError("--limit: expected 1 to 100000") }
  }

  func run() async throws {
    try await store.withLog(.read) { log in
      let events = try await ConsumerGroups(log).peek(group.name, limit: limit)
      let output = StandardOutput()
      for event in events {
        if store.json {
          output.line { EventJSON.append(event, to: &$0) }
        } else {
          output.line(
            "\(event.position)  \(event.stream) \(event.version)  \(event.type)  \(EventJSON.summary(event))")
        }
      }
      output.flush()
    }
  }
}

struct OutboxAudit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "audit", abstract: "What people did to a group: the last first.",
    discussion: "Example:\n  esctl outbox audit mailer")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  @Option(help: "At most so many.")
  var limit = 100

  func validate() throws {
    guard (1...100_000).contains(limit) else { throw ValidationError("--limit: expected 1 to 100000") }
  }

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let actions = try await ConsumerGroups(log).actions(on: group.name, limit: limit)
      let output = StandardOutput()
      if store.json {
        for action in actions {
          output.line(
            .object([
              ("at", .string(Timestamp.text(action.at))), ("by", .string(action.by)),
              ("action", .string(action.action)),
              ("details", .raw(Array(action.details.utf8))),
            ]))
        }
      } else {
        var table = Table([.init("at"), .init("by"), .init("action"), .init("details")])
        for action in actions { table.append([Timestamp.text(action.at), action.by, action.action, action.details]) }
        output.text(table.isEmpty ? "nothing was done to a group of that name\n" : table.text(for: output.terminal))
      }
      output.flush()
    }
  }
}
