internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Outbox

struct ParkedCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "parked", abstract: "Dead letters: events that a group has given up.",
    discussion: """
      Examples:
        esctl outbox parked list mailer
        esctl outbox parked fingerprints mailer
        esctl outbox parked retry mailer --fingerprint 3f9a0c5b7e21 --rate 50 \\
          --dry-run
      """,
    subcommands: [
      ParkedList.self, ParkedShow.self, ParkedFingerprints.self, ParkedRetry.self, ParkedSkip.self, ParkedPurge.self,
    ])
}

/// Which dead letters are meant.
struct SelectionOptions: ParsableArguments {
  @Option(name: .customLong("position"), help: "The event at this position. May be given more than once.")
  var positions: [String] = []

  @Option(help: "Those of this kind: see `fingerprints`.")
  var fingerprint: String?

  @Option(help: "Those of this key: a stream, where the group is ordered by stream.")
  var key: String?

  @Flag(help: "All of them.")
  var all = false

  func validate() throws {
    let given = [!positions.isEmpty, fingerprint != nil, key != nil, all].count { $0 }
    guard given <= 1 else { throw ValidationError("give one of --position, --fingerprint, --key and --all") }
    for position in positions where Position(position) == nil {
      throw ValidationError("--position \(position): expected a number from 0")
    }
  }

  var selection: ParkedSelection? {
    if !positions.isEmpty { return .positions(positions.compactMap { Position($0) }) }
    if let fingerprint { return .fingerprint(fingerprint) }
    if let key { return .key(key) }
    return all ? .all : nil
  }

  func required() throws -> ParkedSelection {
    guard let selection else {
      throw ValidationError("say which: --position, --fingerprint, --key or --all")
    }
    return selection
  }
}

private func members(_ event: ParkedEvent) -> [(String, JSONValue)] {
  [
    ("position", .position(event.position)), ("key", .string(event.key)), ("stream", .string(event.stream)),
    ("version", .integer(event.version)), ("type", .string(event.type)),
    ("id", .string(event.id.uuidString.lowercased())), ("problem", .string(event.problem)),
    ("fingerprint", .string(event.fingerprint)), ("attempts", .integer(event.attempts)),
    ("firstFailedAt", .string(Timestamp.text(event.firstFailedAt))),
    ("parkedAt", .string(Timestamp.text(event.parkedAt))), ("consumer", .string(event.consumer)),
    ("holdsKey", .boolean(event.holdsKey)),
  ]
}

struct ParkedList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "The dead letters of a group, in the order of the log.",
    discussion:
      "Examples:\n  esctl outbox parked list mailer\n  esctl outbox parked list mailer --key account-42 --json")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument
  @OptionGroup var selection: SelectionOptions

  @Option(help: "At most so many.")
  var limit = 1000

  func validate() throws {
    guard (1...1_000_000).contains(limit) else { throw ValidationError("--limit: expected 1 to 1000000") }
  }

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let events = try await ConsumerGroups(log).parked(of: group.name, selection.selection ?? .all, limit: limit)
      let output = StandardOutput()
      if store.json {
        for event in events { output.line(.object(members(event))) }
      } else if events.isEmpty {
        output.line("group \(group.name) has no dead letters\(selection.selection == nil ? "" : " like that")")
      } else {
        var table = Table([
          .init("position", .right), .init("stream"), .init("version", .right), .init("type"), .init("tries", .right),
          .init("kind"), .init("problem"),
        ])
        for event in events {
          table.append([
            event.position.description, event.stream, "\(event.version)", event.type, "\(event.attempts)",
            event.fingerprint, event.holdsKey ? "(holds its key) \(event.problem)" : event.problem,
          ])
        }
        output.text(table.text(for: output.terminal))
      }
      output.flush()
    }
  }
}

struct ParkedShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "One dead letter, with its event.",
    discussion: "Example:\n  esctl outbox parked show mailer 1234")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  @Argument(help: "Its position.")
  var position: String

  func validate() throws {
    guard Position(position) != nil else { throw ValidationError("position \(position): expected a number from 0") }
  }

  func run() async throws {
    try await store.withLog(.read) { log in
      guard let place = Position(position) else { return }
      guard let letter = try await ConsumerGroups(log).parked(of: group.name, .positions([place])).first else {
        throw OutboxError.notParked(group: group.name, place)
      }
      let name = try StreamName(letter.stream)
      let event = try await log.read(name, StreamRange(versions: letter.version...letter.version)).collect().first
      let output = StandardOutput()
      if store.json {
        var bytes: [UInt8] = []
        if let event { EventJSON.append(event, to: &bytes) }
        output.line(.object(members(letter) + [("event", bytes.isEmpty ? .null : .raw(bytes))]))
      } else {
        output.line("\(letter.type), \(letter.stream) version \(letter.version), position \(letter.position)")
        output.line("problem   \(letter.problem)")
        output.line("kind      \(letter.fingerprint)")
        output.line("tries     \(letter.attempts), first \(Timestamp.text(letter.firstFailedAt))")
        output.line("parked    \(Timestamp.text(letter.parkedAt)) by \(letter.consumer)")
        if letter.holdsKey { output.line("key       \(letter.key) is held until this is retried or skipped") }
        if let event { output.line("data      \(EventJSON.summary(event))") }
      }
      output.flush()
    }
  }
}

struct ParkedFingerprints: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fingerprints", abstract: "Dead letters by kind of problem, the most frequent first.",
    discussion: "Example:\n  esctl outbox parked fingerprints mailer")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let kinds = try await ConsumerGroups(log).kindsOfParked(of: group.name)
      let output = StandardOutput()
      if store.json {
        for kind in kinds {
          output.line(
            .object([
              ("fingerprint", .string(kind.fingerprint)), ("count", .integer(kind.count)),
              ("keys", .integer(kind.keys)), ("type", .string(kind.type)), ("problem", .string(kind.problem)),
              ("firstAt", .string(Timestamp.text(kind.firstAt))), ("lastAt", .string(Timestamp.text(kind.lastAt))),
            ]))
        }
      } else if kinds.isEmpty {
        output.line("group \(group.name) has no dead letters")
      } else {
        var table = Table([
          .init("kind"), .init("count", .right), .init("keys", .right), .init("type"), .init("last"), .init("problem"),
        ])
        for kind in kinds {
          table.append([
            kind.fingerprint, Quantity.count(kind.count), Quantity.count(kind.keys), kind.type,
            Timestamp.text(kind.lastAt), kind.problem,
          ])
        }
        output.text(table.text(for: output.terminal))
      }
      output.flush()
    }
  }
}

/// What is done to dead letters, and said of it.
extension StoreOptions {
  fileprivate func change(
    _ group: String, _ done: String, _ words: (Int) -> String, _ body: (ConsumerGroups) async throws -> Int
  ) async throws {
    try await withLog(.inspect) { log in
      let count = try await body(ConsumerGroups(log))
      let output = StandardOutput()
      output.line(
        .object([("name", .string(group)), ("done", .string(done)), ("events", .integer(count))]),
        or: "\(group): \(words(count))", json: json)
      output.flush()
    }
  }
}

struct ParkedRetry: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retry", abstract: "Let dead letters be tried again.",
    discussion: """
      Those that hold their key come in its order; others by themselves, but never beside another event of their key.

      Examples:
        esctl outbox parked retry mailer --position 1234
        esctl outbox parked retry mailer --all --rate 50 --dry-run
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument
  @OptionGroup var selection: SelectionOptions

  @Option(help: ArgumentHelp("So many a second, at most.", valueName: "events"))
  var rate: Double?

  @Flag(help: "Say how many, and do nothing.")
  var dryRun = false

  func run() async throws {
    let selection = try selection.required()
    if dryRun {
      return try await store.change(group.name, "dryRun", { "\($0) dead letters would be tried again" }) { groups in
        let found = try await groups.parked(of: group.name, selection, limit: .max)
        if case .positions(let given) = selection,
          let missing = given.first(where: { one in !found.contains { $0.position == one } })
        {
          throw OutboxError.notParked(group: group.name, missing)
        }
        return found.count
      }
    }
    try await store.change(group.name, "retry", { "\($0) dead letters are tried again" }) {
      try await $0.redrive(group.name, selection, rate: rate)
    }
  }
}

struct ParkedSkip: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "skip", abstract: "Take dead letters away for good; a key that one of them holds goes on.",
    discussion: "Example:\n  esctl outbox parked skip mailer --position 1234")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument
  @OptionGroup var selection: SelectionOptions

  func run() async throws {
    let selection = try selection.required()
    try await store.change(group.name, "skip", { "\($0) dead letters are skipped" }) {
      try await $0.skipParked(group.name, selection)
    }
  }
}

struct ParkedPurge: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "purge", abstract: "Take old dead letters away for good, but none that holds its key.",
    discussion: "Example:\n  esctl outbox parked purge mailer --older-than 30d")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  @Option(help: ArgumentHelp("A number with s, m, h or d.", valueName: "age"))
  var olderThan: String

  func validate() throws { _ = try age }

  private var age: Double {
    get throws {
      let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
      guard let last = olderThan.last, let unit = units[last], let number = Double(olderThan.dropLast()), number >= 0,
        number * unit < 1e10
      else { throw ValidationError("--older-than \(olderThan): expected a number with s, m, h or d, such as 30d") }
      return number * unit
    }
  }

  func run() async throws {
    let time = Date.now - (try age)
    try await store.change(group.name, "purge", { "\($0) dead letters are gone" }) {
      try await $0.purgeParked(group.name, parkedBefore: time)
    }
  }
}
