internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Glibc
internal import Replay
internal import Subprocess
internal import SystemPackage

/// Which part of the log, and where to.
struct HistoryOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Write the events there as JSON lines, as `export` does; - is standard output.", valueName: "file"))
  var to: String?

  @Option(
    help: ArgumentHelp(
      "Run this command for each batch of events, as JSON lines on its standard input; exit code 0: they have arrived.",
      valueName: "command"))
  var exec: String?

  @Option(help: ArgumentHelp("With --to or --exec: only events after this position …", valueName: "position"))
  var after: String?

  @Option(help: ArgumentHelp("… up to this one.", valueName: "position"))
  var upTo: String?

  @Option(help: ArgumentHelp("Only events that happened then or later …", valueName: "time"))
  var since: String?

  @Option(help: ArgumentHelp("… and not after this; a date means the end of that day, UTC.", valueName: "time"))
  var until: String?

  @Option(help: "Only events of this type. May be given more than once.")
  var type: [String] = []

  @Option(name: .customLong("stream"), help: "Only this stream. May be given more than once.")
  var streams: [String] = []

  @Option(help: ArgumentHelp("At most so many events a second.", valueName: "events"))
  var rate: Int?

  @Option(help: ArgumentHelp("Events a batch, at most.", valueName: "events"))
  var batch = 1000

  @Flag(help: "Count what would be replayed, and write nothing.")
  var dryRun = false

  @Option(
    help: ArgumentHelp(
      "Keep in this file how far it has come; started again with it, the replay goes on there.", valueName: "file"))
  var resume: String?

  /// Whether a part of the log is meant, not a fold.
  var isAsked: Bool { to != nil || exec != nil || dryRun }

  /// What only means something for a part of the log.
  var strays: Bool {
    after != nil || upTo != nil || since != nil || until != nil || !type.isEmpty || !streams.isEmpty || rate != nil
      || resume != nil
  }

  func validate() throws {
    for (name, position) in [("--after", after), ("--up-to", upTo)] {
      if let position, Position(position) == nil {
        throw ValidationError("\(name) \(position): expected a position, a number from 0")
      }
    }
    if let rate, !(1...10_000_000).contains(rate) {
      throw ValidationError("--rate: expected 1 to 10000000 events a second")
    }
    guard (1...100_000).contains(batch) else { throw ValidationError("--batch: expected 1 to 100000") }
    guard to == nil || exec == nil else { throw ValidationError("give --to or --exec, not both") }
    if resume != nil, to == "-" { throw ValidationError("--resume needs a file to go on with, or --exec") }
    if resume != nil, dryRun { throw ValidationError("a dry run leaves nothing to resume") }
  }

  func range(categories: [String]) throws -> HistoryRange {
    var range = HistoryRange()
    range.after = after.flatMap { Position($0) } ?? .start
    range.upTo = upTo.flatMap { Position($0) }
    range.since = try since.map { try Timestamp.date(argument: $0, dateMeans: .startOfDay) }
    range.until = try until.map { try Timestamp.date(argument: $0, dateMeans: .endOfDay) }
    range.categories = categories
    range.types = type
    range.streams = Set(try streams.map { try StreamName($0) })
    return range
  }
}

/// Replays a part of the log into a file, standard output or a command.
struct ReplayRange {
  let options: HistoryOptions
  let store: StoreOptions

  func run(_ log: PostgreSQLEventLog, categories: [String]) async throws {
    var range = try options.range(categories: categories)
    let saved = try options.resume.flatMap { try ResumeFile.read($0) }
    if let saved { range.after = max(range.after, saved.position) }
    let replay = HistoryReplay(range, rate: options.rate, batch: options.batch)
    let bar = store.progressBar(options.dryRun ? "dry run" : "replay", total: nil, unit: .count("events"))
    let done: HistoryReplay.Progress
    if options.dryRun {
      var sink = CountingSink()
      done = try await replay.run(from: log, into: &sink) { bar.update(completed: $0.events) }
      bar.finish()
      return sink.print(json: store.json)
    } else if let command = options.exec {
      var sink = CommandSink(command: command)
      done = try await replay.run(from: log, into: &sink) { progress in
        bar.update(completed: progress.events)
        try options.resume.map { try ResumeFile.write($0, progress.position, bytes: 0) }
      }
    } else {
      var sink = try LineSink(path: options.to ?? "-", resumingAt: options.resume == nil ? nil : saved?.bytes ?? 0)
      let output = sink
      done = try await replay.run(from: log, into: &sink) { progress in
        bar.update(completed: progress.events)
        try options.resume.map { try ResumeFile.write($0, progress.position, bytes: output.bytes) }
        if StandardOutput.isLost { throw CancellationError() }
      }
    }
    bar.finish()
    if options.to == "-" { return }
    let output = StandardOutput()
    output.line(
      store.json
        ? .object([("events", .integer(done.events)), ("position", .integer(Int(done.position.description) ?? 0))])
        : .null, or: "replayed \(Quantity.count(done.events, "event")), up to position \(done.position)",
      json: store.json)
    output.flush()
  }
}

/// A payload that cannot be opened cannot be replayed elsewhere: the replay ends before it.
private func requireReadable(_ event: RecordedEvent) throws {
  guard case .failure(let error) = event.payload, error.code != "shredded" else { return }
  throw CommandFailure(
    .encryption, error.code,
    "event \(event.id.uuidString.lowercased()) (\(event.stream), version \(event.version)): \(error)")
}

/// JSON lines, to a file or standard output.
private final class LineSink: ReplaySink {
  private let output: StandardOutput
  private let descriptor: Int32?
  /// What has been written to the file.
  private(set) var bytes: Int

  /// - Parameter bytes: Of a file that is gone on with: what comes after them was not written down as having arrived.
  init(path: String, resumingAt bytes: Int?) throws {
    self.bytes = bytes ?? 0
    guard path != "-" else {
      output = StandardOutput()
      descriptor = nil
      return
    }
    let file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (bytes == nil ? O_EXCL : 0), 0o600)
    var status = stat()
    if file >= 0, let bytes, fstat(file, &status) == 0, bytes == 0 ? status.st_size > 0 : status.st_size < bytes {
      close(file)
      throw CommandFailure(
        .failed, "cannotWrite",
        "\(path) has \(status.st_size) bytes, where --resume says \(bytes): it is not the file that was written")
    }
    guard file >= 0, ftruncate(file, off_t(bytes ?? 0)) == 0, lseek(file, 0, SEEK_END) >= 0 else {
      let reason =
        errno == EEXIST ? "it exists: name another one, or go on with it by --resume" : String(cString: strerror(errno))
      if file >= 0 { close(file) }
      throw CommandFailure(.failed, "cannotWrite", "cannot write \(path): \(reason)")
    }
    descriptor = file
    output = StandardOutput(file: file)
  }

  deinit { descriptor.map { _ = close($0) } }

  func take(_ events: [RecordedEvent]) async throws {
    for event in events {
      try requireReadable(event)
      output.line { buffer in
        let before = buffer.count
        EventJSON.append(event, to: &buffer)
        bytes += buffer.count - before + 1
      }
    }
    output.flush()
    try StandardOutput.checkArrival()
    if let descriptor, fdatasync(descriptor) != 0 {
      throw CommandFailure(.failed, "cannotWrite", "cannot write the output: \(String(cString: strerror(errno)))")
    }
  }
}

/// A command a batch.
private struct CommandSink: ReplaySink {
  let command: String

  func take(_ events: [RecordedEvent]) async throws {
    var lines: [UInt8] = []
    for event in events {
      try requireReadable(event)
      EventJSON.append(event, to: &lines)
      lines.append(UInt8(ascii: "\n"))
    }
    let result = try await Subprocess.run(
      .path("/bin/sh"), arguments: ["-c", command], input: Lines(bytes: lines),
      output: .fileDescriptor(.standardOutput, closeAfterSpawningProcess: false),
      error: .fileDescriptor(.standardError, closeAfterSpawningProcess: false))
    guard result.terminationStatus.isSuccess else {
      let first = events.first.map { "\($0.position)" } ?? ""
      throw CommandFailure(
        .failed, "execFailed",
        "the command failed (\(result.terminationStatus.words)) on \(Quantity.count(events.count, "event")) from position \(first)"
      )
    }
  }
}

/// What a command need not read to its end: its exit code decides.
struct Lines: InputProtocol {
  let bytes: [UInt8]

  func write(with writer: StandardInputWriter) async throws {
    _ = try? await writer.write(bytes)
  }
}

/// Counts.
private struct CountingSink: ReplaySink {
  private var types: [String: Int] = [:]
  private var streams: Set<StreamName> = []
  private var first: RecordedEvent?
  private var last: RecordedEvent?
  private var count = 0

  mutating func take(_ events: [RecordedEvent]) async throws {
    for event in events {
      types[event.type, default: 0] += 1
      streams.insert(event.stream)
    }
    count += events.count
    first = first ?? events.first
    last = events.last
  }

  func print(json: Bool) {
    let output = StandardOutput()
    let sorted = types.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    if json {
      output.line(
        .object([
          ("events", .integer(count)), ("streams", .integer(streams.count)),
          ("firstPosition", .optional(first.flatMap { Int($0.position.description) })),
          ("lastPosition", .optional(last.flatMap { Int($0.position.description) })),
          ("types", .object(sorted.map { ($0.key, .integer($0.value)) })),
        ]))
    } else {
      output.line("\(Quantity.count(count, "event")) of \(Quantity.count(streams.count, "stream")) would be replayed")
      if let first, let last {
        output.line(
          "from position \(first.position), \(Timestamp.text(first.time)), to \(last.position), \(Timestamp.text(last.time))"
        )
      }
      for (type, count) in sorted { output.line("  \(type): \(Quantity.count(count))") }
    }
    output.flush()
  }
}

/// How far a replay has come: `position bytes`.
private enum ResumeFile {
  static func read(_ path: String) throws -> (position: Position, bytes: Int)? {
    guard access(path, F_OK) == 0 else { return nil }
    let parts = String(decoding: try TextFile.contents(of: path), as: UTF8.self).split(whereSeparator: \.isWhitespace)
    guard parts.count == 2, let position = Position(String(parts[0])), let bytes = Int(parts[1]), bytes >= 0 else {
      throw CommandFailure(
        .badInput, "badInput", "\(path) is no file of --resume: expected a position and a number of bytes")
    }
    return (position, bytes)
  }

  /// Whole or not at all.
  static func write(_ path: String, _ position: Position, bytes: Int) throws {
    let file = try OutputFile(path: path)
    file.output.line("\(position) \(bytes)")
    file.output.flush()
    try file.complete()
  }
}
