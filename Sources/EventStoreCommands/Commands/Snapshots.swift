internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Replay

struct Snapshots: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List, show, build, verify and delete snapshots.",
    discussion: """
      A snapshot is a cache: deleting all of them changes no result. Of categories whose aggregate this program does not \
      know, the snapshots are of the latest of every field.

      Examples:
        esctl snapshots build --category account
        esctl snapshots verify --all
      """,
    subcommands: [
      SnapshotsList.self, SnapshotsShow.self, SnapshotsBuild.self, SnapshotsVerify.self, SnapshotsDelete.self,
    ])

  /// 16 bytes are too many for the eye.
  static func fingerprint(_ shape: SnapshotShape) -> String {
    shape.fingerprint.prefix(6).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// Which streams.
struct SnapshotScope: ParsableArguments {
  @Argument(help: "One stream, as category-id.")
  var stream: String?

  @Option(help: "The streams of this category.")
  var category: String?

  @Flag(help: "All streams.")
  var all = false

  func validate() throws {
    guard [stream != nil, category != nil, all].count(where: { $0 }) == 1 else {
      throw ValidationError("give one of: a stream, --category, --all")
    }
  }

  /// The names of the streams, in order, a page at a time.
  func streams(_ log: PostgreSQLEventLog, _ body: ([StreamName]) async throws -> Void) async throws {
    if let stream {
      let name = try StreamName(stream)
      guard try await log.version(of: name) != nil else { throw AggregateError.notFound(name) }
      return try await body([name])
    }
    var last = ""
    while true {
      let page = try await StoreInspection(log).streams(category: category, after: last, limit: 1000)
      guard let end = page.last else { return }
      try await body(page.map { StreamName(trusted: $0.name) })
      last = end.name
    }
  }
}

struct SnapshotsList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List snapshots, by stream, the newest first. Reads no payload.",
    discussion: "Examples:\n  esctl snapshots list\n  esctl snapshots list --category account --json")
  @OptionGroup var store: StoreOptions

  @Option(help: "Only of this category.")
  var category: String?

  @Option(help: "Only of this stream.")
  var stream: String?

  @Option(help: "Go on after this stream.")
  var after = ""

  @Option(help: "At most so many.")
  var limit = 1000

  func validate() throws { guard limit >= 1 else { throw ValidationError("--limit \(limit): expected at least 1") } }

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let entries = try await StoreInspection(log).snapshots(
        stream: stream, category: category, after: after, limit: limit)
      let output = StandardOutput()
      if store.json {
        for entry in entries {
          output.line(
            .object([
              ("stream", .string(entry.stream)), ("version", .integer(entry.version)),
              ("streamVersion", .integer(entry.streamVersion)), ("stateType", .string(entry.shape.stateType)),
              ("schemaVersion", .integer(entry.shape.schemaVersion)),
              ("fingerprint", .string(Snapshots.fingerprint(entry.shape))),
              ("latestTime", .string(Timestamp.text(entry.latestTime))),
              ("createdAt", .string(Timestamp.text(entry.createdAt))), ("storedBytes", .integer(entry.storedBytes)),
            ]))
        }
        return
      }
      var table = Table([
        .init("STREAM"), .init("VERSION", .right), .init("OF", .right), .init("STATE"), .init("SCHEMA", .right),
        .init("FINGERPRINT"), .init("BYTES", .right), .init("MADE"),
      ])
      for entry in entries {
        table.append([
          entry.stream, String(entry.version), String(entry.streamVersion), entry.shape.stateType,
          String(entry.shape.schemaVersion), Snapshots.fingerprint(entry.shape), Quantity.bytes(entry.storedBytes),
          Timestamp.text(entry.createdAt),
        ])
      }
      output.text(table.text(for: output.terminal))
      if entries.count == limit {
        StandardOutput.complain("there may be more: --after \(ShellWord.quoted(entries.last?.stream ?? ""))")
      }
    }
  }
}

struct SnapshotsShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "Show the newest snapshot of a stream that this program can read.",
    discussion: "Example:\n  esctl snapshots show account-42 --json")
  @OptionGroup var store: StoreOptions

  @Argument(help: "The stream, as category-id.")
  var stream: String

  func run() async throws {
    let name = try StreamName(stream)
    try await store.withLog(.read) { log in
      guard try await log.version(of: name) != nil else { throw AggregateError.notFound(name) }
      let replay = CommandEnvironment.replay(of: name.category, in: log)
      guard let snapshot = try await log.snapshots?.latest(of: name, replay.shape, upTo: .max, until: nil),
        let json = try? replay.display(snapshot)
      else {
        throw CommandFailure(
          .notFound, "noSnapshot",
          "stream \(name) has no snapshot of \(replay.name) that can be read: `esctl snapshots build \(name)` makes one"
        )
      }
      ReplayPrinter(json: store.json).print(
        StreamState(
          version: snapshot.version, time: snapshot.latestTime, json: json, eventsRead: 0,
          snapshotVersion: snapshot.version), of: name, replay.name)
    }
  }
}

struct SnapshotsBuild: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "build", abstract: "Make a snapshot of each stream that has grown since its last one.",
    discussion: """
      Examples:
        esctl snapshots build account-42
        esctl snapshots build --category account --grown-by 100
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var scope: SnapshotScope

  @Option(help: ArgumentHelp("Only of streams that have grown by so many events.", valueName: "events"))
  var grownBy = 1

  func validate() throws {
    guard grownBy >= 1 else { throw ValidationError("--grown-by \(grownBy): expected at least 1") }
  }

  func run() async throws {
    try await store.withLog(.maintain) { log in
      let bar = store.progressBar("snapshots", total: nil, unit: .count("streams"))
      var (built, upToDate, refused, failed) = (0, 0, 0, 0)
      try await scope.streams(log) { names in
        for name in names {
          try Task.checkCancellation()
          let replay = CommandEnvironment.replay(of: name.category, in: log)
          let version = try await log.version(of: name) ?? 0
          let last = try await log.snapshots?.latest(of: name, replay.shape, upTo: .max, until: nil)?.version ?? 0
          if version - last < grownBy {
            upToDate += 1
          } else {
            do {
              if try await replay.buildSnapshot(of: name) == nil { refused += 1 } else { built += 1 }
            } catch let error as AggregateError where scope.stream == nil {
              // One that cannot be folded holds up no other.
              failed += 1
              store.notice("\(error)")
            }
          }
          bar.advance()
        }
      }
      bar.finish()
      let output = StandardOutput()
      if store.json {
        output.line(
          .object([
            ("built", .integer(built)), ("upToDate", .integer(upToDate)), ("refused", .integer(refused)),
            ("failed", .integer(failed)),
          ]))
      } else {
        output.line("built \(built), up to date \(upToDate)")
        if refused > 0 {
          output.line(
            "\(refused) cannot have one: their events belong to several subjects, or their state does not come back "
              + "from its own encoding")
        }
        if failed > 0 { output.line("\(failed) could not be folded: each says why") }
      }
      output.flush()
      guard failed == 0 else { throw ExitCode(ExitStatus.failed.rawValue) }
    }
  }
}

struct SnapshotsVerify: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Replay streams in full and compare with their newest snapshot.",
    discussion: """
      A difference means that `apply` depends on something else than state and event, or was changed without raising the \
      schema version. Exit code 1 then.

      Examples:
        esctl snapshots verify --all
        esctl snapshots verify --category account --sample 100
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var scope: SnapshotScope

  @Option(help: "Only so many streams, drawn at random.")
  var sample: Int?

  func validate() throws {
    if let sample, sample < 1 { throw ValidationError("--sample \(sample): expected at least 1") }
  }

  func run() async throws {
    try await store.withLog(.read) { log in
      let bar = store.progressBar("verify", total: nil, unit: .count("streams"))
      var names: [StreamName] = []
      try await scope.streams(log) { names += $0 }
      if let sample { names = Array(names.shuffled().prefix(sample)).sorted() }
      var (same, without, different) = (0, 0, [(stream: StreamName, version: Int, reason: String)]())
      for name in names {
        try Task.checkCancellation()
        let replay = CommandEnvironment.replay(of: name.category, in: log)
        bar.advance()
        let stored = try await StoreInspection(log).snapshots(
          stream: name.description, category: nil, after: "", limit: 1000
        ).first { $0.shape == replay.shape }
        guard let stored else {
          without += 1
          continue
        }
        let snapshot = try await log.snapshots?.latest(of: name, replay.shape, upTo: .max, until: nil)
        do {
          if let snapshot, snapshot.version == stored.version {
            if try await replay.verify(snapshot) {
              same += 1
            } else {
              different.append((name, stored.version, "a full replay gives another state"))
            }
          } else {
            different.append((name, stored.version, "it cannot be read: it is damaged, or its key is not in hand"))
          }
        } catch let error as AggregateError {
          different.append((name, stored.version, error.description))
        }
      }
      bar.finish()
      let output = StandardOutput()
      if store.json {
        output.line(
          .object([
            ("same", .integer(same)), ("withoutSnapshot", .integer(without)),
            (
              "different",
              .array(
                different.map {
                  .object([
                    ("stream", .string($0.stream.description)), ("version", .integer($0.version)),
                    ("reason", .string($0.reason)),
                  ])
                })
            ),
          ]))
      } else {
        output.line(
          "\(same) as a full replay gives, \(different.count) different, "
            + "\(Quantity.count(without, "stream")) without a snapshot")
        for snapshot in different {
          output.line("DIFFERENT  \(snapshot.stream) at version \(snapshot.version): \(snapshot.reason)")
        }
        if !different.isEmpty {
          output.line("delete them: `esctl snapshots delete STREAM`; see `esctl snapshots verify --help`")
        }
      }
      output.flush()
      guard different.isEmpty else { throw ExitCode(ExitStatus.failed.rawValue) }
    }
  }
}

struct SnapshotsDelete: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Delete snapshots. No result changes; the next loads replay in full.",
    discussion: "Examples:\n  esctl snapshots delete account-42\n  esctl snapshots delete --all")
  @OptionGroup var store: StoreOptions
  @OptionGroup var scope: SnapshotScope

  @Option(help: ArgumentHelp("Only of this type of state.", valueName: "name"))
  var state: String?

  func run() async throws {
    let name = try scope.stream.map { try StreamName($0) }
    try await store.withLog(.inspect) { log in
      if let name, try await log.version(of: name) == nil { throw AggregateError.notFound(name) }
      let deleted = try await StoreInspection(log).deleteSnapshots(
        stream: name?.description, category: scope.category, stateType: state)
      let output = StandardOutput()
      if store.json {
        output.line(.object([("deleted", .integer(deleted))]))
      } else {
        output.line("deleted \(deleted) \(deleted == 1 ? "snapshot" : "snapshots")")
      }
    }
  }
}
