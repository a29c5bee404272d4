internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials

struct Streams: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List streams, by name.",
    discussion: "Examples:\n  esctl streams --category account --limit 20\n  esctl streams --after account-42 --json")
  @OptionGroup var store: StoreOptions

  @Option(help: "Only streams of this category.")
  var category: String?

  @Option(help: "Go on after this name.")
  var after = ""

  @Option(help: "At most so many.")
  var limit = 1000

  func validate() throws {
    guard limit >= 1 else { throw ValidationError("--limit \(limit): expected at least 1") }
  }

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let streams = try await StoreInspection(log).streams(category: category, after: after, limit: limit)
      let output = StandardOutput()
      if store.json {
        for stream in streams {
          output.line(
            .object([
              ("stream", .string(stream.name)), ("version", .integer(stream.version)),
              ("firstRecordedAt", .string(Timestamp.text(stream.firstRecordedAt))),
              ("lastRecordedAt", .string(Timestamp.text(stream.lastRecordedAt))),
              ("lastPosition", .raw(Array(stream.lastPosition.description.utf8))),
            ]))
        }
        return
      }
      var table = Table([.init("STREAM"), .init("VERSION", .right), .init("LAST RECORDED"), .init("POSITION", .right)])
      for stream in streams {
        table.append([
          stream.name, String(stream.version), Timestamp.text(stream.lastRecordedAt), stream.lastPosition.description,
        ])
      }
      output.text(table.text(for: output.terminal))
      if streams.count == limit {
        StandardOutput.complain("there may be more: --after \(ShellWord.quoted(streams.last?.name ?? ""))")
      }
    }
  }
}

struct Stream: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show what one stream is made of. Reads no payload.",
    discussion: "Example:\n  esctl stream account-42")
  @OptionGroup var store: StoreOptions

  @Argument(help: "The stream, as category-id.")
  var stream: String

  func run() async throws {
    let name: StreamName
    do { name = try StreamName(stream) } catch { throw CommandFailure(.usage, "usage", error.description) }
    try await store.withLog(.inspect) { log in
      let types = try await StoreInspection(log).types(in: name.description)
      guard !types.isEmpty else { throw CommandFailure(.notFound, "notFound", "there is no stream \(name)") }
      let version = types.map(\.lastVersion).max() ?? 0
      let output = StandardOutput()
      if store.json {
        return output.line(
          .object([
            ("stream", .string(name.description)), ("category", .string(name.category)), ("version", .integer(version)),
            ("storedBytes", .integer(types.reduce(0) { $0 + $1.storedBytes })),
            (
              "types",
              .array(
                types.map {
                  .object([
                    ("type", .string($0.type)), ("events", .integer($0.events)),
                    ("storedBytes", .integer($0.storedBytes)),
                    ("firstVersion", .integer($0.firstVersion)), ("lastVersion", .integer($0.lastVersion)),
                  ])
                })
            ),
          ]))
      }
      output.line("\(name): version \(version), category \(name.category)\n")
      var table = Table([
        .init("TYPE"), .init("EVENTS", .right), .init("BYTES", .right), .init("FIRST", .right), .init("LAST", .right),
      ])
      for type in types {
        table.append([
          type.type, String(type.events), Quantity.bytes(type.storedBytes), String(type.firstVersion),
          String(type.lastVersion),
        ])
      }
      output.text(table.text(for: output.terminal))
    }
  }
}

struct Keys: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Make and list master keys.",
    discussion: "Examples:\n  esctl keys init\n  esctl keys list", subcommands: [KeysInit.self, KeysList.self])
}

struct KeysInit: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init", abstract: "Make a keyring file with a new master key; or print a new key, for a vault.",
    discussion: "Examples:\n  esctl keys init\n  esctl keys init --print | vault kv put secret/eventstore key=-")
  @OptionGroup var store: StoreOptions

  @Flag(help: "Print the new key on standard output and write no file.")
  var print = false

  func run() async throws {
    let output = StandardOutput()
    if print {
      let (opening, closing) = store.json ? ("{\"keyring\":\"", "\"}") : ("", "")
      // Of characters that JSON takes as they are.
      try Keyring.withNewLine { line in
        output.line { output in
          output.append(contentsOf: opening.utf8)
          output.append(contentsOf: line.prefix { $0 != 0x0A })
          output.append(contentsOf: closing.utf8)
        }
      }
      return
    }
    let keyring = try Keyring.create(file: store.keyringPath)
    if store.json {
      output.line(.object([("keyring", .string(store.keyringPath)), ("masterKey", .string(keyring.active.id))]))
    } else {
      output.line("created \(store.keyringPath) with master key \(keyring.active.id): back it up")
    }
  }
}

struct KeysList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the store's master keys, and whether they are in hand.",
    discussion: "Example:\n  esctl keys list --json")
  @OptionGroup var store: StoreOptions

  func run() async throws {
    let keyring = try await store.masterKeys()
    try await store.withLog(.inspect) { log in
      let entries = try await StoreInspection(log).masterKeys()
      let output = StandardOutput()
      if store.json {
        for entry in entries {
          output.line(
            .object([
              ("masterKey", .string(entry.id)), ("inHand", .boolean(keyring?[entry.id] != nil)),
              ("active", .boolean(keyring?.active.id == entry.id)), ("dataKeys", .integer(entry.dataKeys)),
              ("shredded", .integer(entry.shredded)), ("createdAt", .string(Timestamp.text(entry.createdAt))),
            ]))
        }
        return
      }
      var table = Table([
        .init("MASTER KEY"), .init("IN HAND"), .init("DATA KEYS", .right), .init("SHREDDED", .right), .init("CREATED"),
      ])
      for entry in entries {
        table.append([
          entry.id, keyring?.active.id == entry.id ? "active" : keyring?[entry.id] != nil ? "yes" : "no",
          String(entry.dataKeys), String(entry.shredded), Timestamp.text(entry.createdAt),
        ])
      }
      output.text(table.text(for: output.terminal))
      if entries.isEmpty { output.line("no payload has been sealed yet") }
    }
  }
}

struct Version: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print the version.", discussion: "Example:\n  esctl version --json")
  @OptionGroup var store: StoreOptions

  static let number = "0.1.0"

  func run() {
    let output = StandardOutput()
    if store.json {
      output.line(
        .object([
          ("version", .string(Self.number)), ("migration", .integer(Migrator.known.last?.number ?? 0)),
        ]))
    } else {
      output.line("esctl \(Self.number)")
    }
  }
}
