internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Outbox
internal import Projections

struct ScheduleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schedule", abstract: "Append events later: at a time, or again and again.",
    discussion: """
      A schedule keeps an event, sealed, until it is due; a scheduler (`esctl outbox schedule run`, or one in a service) appends \
      it. Each occurrence is appended exactly once, however many schedulers run.

      Examples:
        esctl outbox schedule add order-7 --type order.reminded --data '{}' --in 3600
        esctl outbox schedule add ledger-1 --type month.ended --data '{}' \\
          --cron '0 18 L * *' --time-zone Europe/Prague --name month-end
        esctl outbox schedule list
        esctl outbox schedule cancel month-end
        esctl outbox schedule run
      """,
    subcommands: [
      ScheduleAdd.self, ScheduleList.self, ScheduleShow.self, ScheduleCancel.self, SchedulePreview.self,
      ScheduleRun.self,
    ])
}

/// When something recurs.
struct CronOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The time zone of a cron expression, as IANA names it. Default: UTC.", valueName: "zone"))
  var timeZone: String?

  @Option(help: ArgumentHelp("With a cron expression: no occurrence after this.", valueName: "time"))
  var until: String?

  @Option(
    help: ArgumentHelp(
      """
      With a cron expression, of occurrences that came while no scheduler was running: each, an event for each of them, or one, \
      one event for all. Default: each.
      """, valueName: "what"))
  var missed: String?

  func validate() throws {
    _ = try end
    if let missed, Timing.Missed(rawValue: missed) == nil {
      throw ValidationError("--missed \(missed): expected each or one")
    }
  }

  private var end: Date? {
    get throws { try until.map { try Timestamp.date(argument: $0, dateMeans: .endOfDay) } }
  }

  var isGiven: Bool { timeZone != nil || until != nil || missed != nil }

  func recurrence(_ expression: String) throws -> Timing.Recurrence {
    Timing.Recurrence(
      try CronExpression(expression), timeZone: timeZone ?? "UTC", until: try end,
      missed: missed.flatMap { Timing.Missed(rawValue: $0) } ?? .each)
  }
}

extension Schedules.Status {
  var when: String {
    guard let recurrence else { return "once" }
    return recurrence.expression.description + (recurrence.timeZone == "UTC" ? "" : " \(recurrence.timeZone)")
  }

  var json: [(String, JSONValue)] {
    [
      ("name", .string(name)), ("stream", .string(stream.description)), ("type", .string(type)),
      ("id", .string(eventID.uuidString.lowercased())), ("cron", .optional(recurrence?.expression.description)),
      ("timeZone", .optional(recurrence?.timeZone)), ("until", .optional(recurrence?.end.map { Timestamp.text($0) })),
      ("missed", .optional(recurrence?.missed.rawValue)), ("dueAt", .string(Timestamp.text(dueAt))),
      ("isOverdue", .boolean(isOverdue)), ("attempts", .integer(attempts)), ("problem", .optional(problem)),
      ("occurrences", .integer(occurrences)), ("lastAt", .optional(lastAt.map { Timestamp.text($0) })),
      ("createdBy", .string(createdBy)), ("createdAt", .string(Timestamp.text(createdAt))),
    ]
  }
}

struct ScheduleAdd: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "add", abstract: "Schedule one event.",
    discussion: """
      The event is appended whatever version its stream then has. Its metadata say `schedule` and `scheduledFor`. Doing it again \
      with the same name and content changes nothing, even after the event was appended.

      A cron expression has five fields: minute, hour, day of the month (L: the last), month, day of the week; or is @hourly, @daily, \
      @weekly, @monthly or @yearly.

      Examples:
        esctl outbox schedule add order-7 --type order.reminded --data '{}' \\
          --at 2026-12-24T18:00:00Z
        esctl outbox schedule add order-7 --type order.reminded --data '{}' --in 90
        esctl outbox schedule add report-1 --type report.due --data '{}' \\
          --cron '0 9 * * mon-fri'
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var given: EventOptions

  @Option(help: ArgumentHelp("Append it once, at this time; one that has passed: at once.", valueName: "time"))
  var at: String?

  @Option(help: ArgumentHelp("Append it once, so long from now.", valueName: "seconds"))
  var `in`: Double?

  @Option(help: ArgumentHelp("Append one again and again.", valueName: "expression"))
  var cron: String?

  @OptionGroup var recurring: CronOptions

  @Option(help: "The schedule's name. Default: the event's id.")
  var name: String?

  func validate() throws {
    guard [at != nil, `in` != nil, cron != nil].count(where: { $0 }) == 1 else {
      throw ValidationError("give one of --at, --in and --cron")
    }
    if let at { _ = try Timestamp.date(argument: at) }
    if let seconds = `in`, !(0...3_155_760_000).contains(seconds) {
      throw ValidationError("--in \(seconds): expected 0 to 3155760000 seconds")
    }
    if let cron {
      _ = try recurring.recurrence(cron)
    } else if recurring.isGiven {
      throw ValidationError("--time-zone, --until and --missed go with --cron")
    }
  }

  private func timing() throws -> Timing {
    if let cron { return .cron(try recurring.recurrence(cron)) }
    if let at { return .at(try Timestamp.date(argument: at)) }
    return .at(.now.addingTimeInterval(`in` ?? 0))
  }

  /// The same for the same name, place and time: so the same command twice gives one event. What is to come in some seconds comes at
  /// another time each time; there the name alone tells.
  private func eventID(_ timing: Timing) -> UUID {
    guard let name else { return .v7() }
    var when = ""
    if `in` == nil, case .at(let time) = timing { when = Timestamp.text(time) }
    return .v8(digestOf: Array("esctl schedule\0\(name)\0\(given.stream)\0\(given.type)\0\(when)".utf8))
  }

  func run() async throws {
    let timing = try timing()
    let (stream, event) = (try given.streamName, try given.event(defaultID: eventID(timing)))
    let status = try await store.withLog(.write) { log in
      try await Schedules(log).add(event, to: stream, timing, name: name)
    }
    let output = StandardOutput()
    output.line(
      .object(status.json),
      or: "\(status.name): \(status.recurrence == nil ? "" : "next ")due at \(Timestamp.text(status.dueAt)) "
        + "(a scheduler appends it: `esctl outbox schedule run`)", json: store.json)
    output.flush()
  }
}

struct ScheduleList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "What is scheduled: the next first.",
    discussion: "Example:\n  esctl outbox schedule list --json")
  @OptionGroup var store: StoreOptions

  @Option(help: "At most so many.")
  var limit = 1_000

  func validate() throws {
    guard (1...1_000_000).contains(limit) else { throw ValidationError("--limit: expected 1 to 1000000") }
  }

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let schedules = try await Schedules(log).all(limit: limit)
      let output = StandardOutput()
      if store.json {
        for schedule in schedules { output.line(.object(schedule.json)) }
      } else if schedules.isEmpty {
        output.line("nothing is scheduled (`esctl outbox schedule add` does it)")
      } else {
        var table = Table([
          .init("due"), .init("name"), .init("stream"), .init("type"), .init("when"), .init("appended", .right),
          .init("state"),
        ])
        for schedule in schedules {
          table.append([
            Timestamp.text(schedule.dueAt), schedule.name, schedule.stream.description, schedule.type, schedule.when,
            Quantity.count(schedule.occurrences),
            schedule.attempts > 0 ? "failing" : schedule.isOverdue ? "overdue" : "waiting",
          ])
        }
        output.text(table.text(for: output.terminal))
      }
      output.flush()
    }
  }
}

struct ScheduleName: ParsableArguments {
  @Argument(help: "The schedule.")
  var name: String
}

struct ScheduleShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "One schedule, and its next occurrences.",
    discussion: "Example:\n  esctl outbox schedule show month-end")
  @OptionGroup var store: StoreOptions
  @OptionGroup var schedule: ScheduleName

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let schedules = Schedules(log)
      let status = try await schedules.status(of: schedule.name)
      var next = [status.dueAt]
      if let recurrence = status.recurrence {
        next += try await schedules.preview(recurrence, after: status.dueAt, count: 4)
      }
      let output = StandardOutput()
      if store.json {
        output.line(.object(status.json + [("next", .array(next.map { .string(Timestamp.text($0)) }))]))
      } else {
        output.line("\(status.name): \(status.type) to \(status.stream), \(status.when)")
        if let recurrence = status.recurrence, let end = recurrence.end {
          output.line("until     \(Timestamp.text(end))")
        }
        output.line("next      " + next.map { Timestamp.text($0) }.joined(separator: "\n          "))
        output.line(
          "appended  \(Quantity.count(status.occurrences))"
            + (status.lastAt.map { ", the last at \(Timestamp.text($0))" } ?? ""))
        output.line("made      \(Timestamp.text(status.createdAt)) by \(status.createdBy)")
        if let problem = status.problem { output.line("failing   \(status.attempts) times: \(problem)") }
      }
      output.flush()
    }
  }
}

struct ScheduleCancel: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cancel", abstract: "Append nothing more of a schedule.",
    discussion: "Example:\n  esctl outbox schedule cancel month-end")
  @OptionGroup var store: StoreOptions
  @OptionGroup var schedule: ScheduleName

  func run() async throws {
    try await store.withLog(.inspect) { log in
      try await Schedules(log).cancel(schedule.name)
      let output = StandardOutput()
      output.line(
        .object([("name", .string(schedule.name)), ("done", .string("cancelled"))]), or: "\(schedule.name): cancelled",
        json: store.json)
      output.flush()
    }
  }
}

struct SchedulePreview: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "preview", abstract: "When a cron expression would be due. Nothing is kept.",
    discussion: """
      Example:
        esctl outbox schedule preview '30 2 * * sun' --count 3 \\
          --time-zone Europe/Prague
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: "The cron expression.")
  var expression: String

  @OptionGroup var recurring: CronOptions

  @Option(help: ArgumentHelp("From this time on. Default: now.", valueName: "time"))
  var after: String?

  @Option(help: "How many.")
  var count = 5

  func validate() throws {
    _ = try recurring.recurrence(expression)
    if let after { _ = try Timestamp.date(argument: after) }
    guard (1...10_000).contains(count) else { throw ValidationError("--count: expected 1 to 10000") }
  }

  func run() async throws {
    let (recurrence, start) = (
      try recurring.recurrence(expression), try after.map { try Timestamp.date(argument: $0) } ?? .now
    )
    try await store.withLog(.inspect) { log in
      let times = try await Schedules(log).preview(recurrence, after: start, count: count)
      let output = StandardOutput()
      for time in times {
        output.line(
          .object([("dueAt", .string(Timestamp.text(time)))]), or: Timestamp.text(time), json: store.json)
      }
      if times.isEmpty, !store.json { output.line("never") }
      output.flush()
    }
  }
}

struct ScheduleRun: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Append scheduled events when they are due.",
    discussion: """
      Until SIGINT or SIGTERM. Start it twice for a standby: each event is appended once. What cannot be appended is said on standard \
      error, and tried again later.

      Examples:
        esctl outbox schedule run
        esctl outbox schedule run --once      # what is due now
      """)
  @OptionGroup var store: StoreOptions

  @Flag(help: "Append what is due now, and end.")
  var once = false

  func run() async throws {
    try await store.withLog(.write) { log in
      var options = Scheduler.Options()
      options.endsWhenNothingIsDue = once
      options.logger = ComplainingLog.logger(json: store.json)
      let json = store.json
      options.onAppend = { append in
        let output = StandardOutput()
        output.line(
          .object([
            ("name", .string(append.name)), ("dueAt", .string(Timestamp.text(append.dueAt))),
            ("id", .string(append.eventID.uuidString.lowercased())), ("stream", .string(append.stream.description)),
            ("version", .integer(append.version)), ("position", .position(append.position)),
            ("duplicate", .boolean(append.wasDuplicate)),
          ]),
          or: "\(append.name): \(append.stream) is at version \(append.version), due at \(Timestamp.text(append.dueAt))"
            + (append.wasDuplicate ? " (this event was there already)" : ""), json: json)
        output.flush()
      }
      let environment = CommandEnvironment.current
      try await Scheduler(InlineLog(log, environment.projections, codec: environment.codec), options: options).run()
    }
  }
}
