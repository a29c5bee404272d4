internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials

struct Read: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Read one stream.",
    discussion: """
      With --json, and in a pipe, one JSON object a line: id, stream, version, position, type, schemaVersion, time, \
      data, metadata.

      Examples:
        esctl read account-42
        esctl read account-42 --backwards --limit 5 --json
        esctl read account-42 --until 2026-01-31
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: "The stream, as category-id.")
  var stream: String

  @Option(name: .customLong("from"), help: "The first version.")
  var first = 1

  @Option(name: .customLong("to"), help: "The last version.")
  var last: Int?

  @Option(
    help: ArgumentHelp(
      "Only events not after this: ISO 8601; a date means the end of that day, UTC.", valueName: "time"))
  var until: String?

  @Flag(help: "The last event first.")
  var backwards = false

  @Option(help: "At most so many events.")
  var limit: Int?

  func validate() throws {
    guard first >= 1 else { throw ValidationError("--from \(first): versions start at 1") }
    if let last, last < first { throw ValidationError("--to \(last) is before --from \(first)") }
    if let limit, limit < 1 { throw ValidationError("--limit \(limit): expected at least 1") }
  }

  func run() async throws {
    let name: StreamName
    do { name = try StreamName(stream) } catch { throw CommandFailure(.usage, "usage", error.description) }
    let range = StreamRange(
      versions: first...(last ?? .max), direction: backwards ? .backwards : .forwards,
      until: try until.map { try Timestamp.date(argument: $0, dateMeans: .endOfDay) }, limit: limit ?? .max)
    try await store.withLog(.read) { log in
      let printer = EventPrinter(json: store.json, showsStream: false)
      for try await page in log.read(name, range).pages { for event in page { printer.print(event) } }
      if printer.count == 0, try await log.version(of: name) == nil {
        throw CommandFailure(.notFound, "notFound", "there is no stream \(name)")
      }
      try printer.finish()
    }
  }
}

struct Log: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Read the whole log, in order; or follow it.",
    discussion: """
      Examples:
        esctl log --limit 20
        esctl log --category account --follow
        esctl log --after 1000 --type account.opened --json
      """)
  @OptionGroup var store: StoreOptions

  @Option(help: "Only what comes after this position.")
  var after = "0"

  @Option(help: "Only streams of this category. May be given more than once.")
  var category: [String] = []

  @Option(help: "Only events of this type. May be given more than once.")
  var type: [String] = []

  @Flag(help: "Go on with new events as they are committed, until interrupted.")
  var follow = false

  @Option(help: "At most so many events.")
  var limit: Int?

  func validate() throws {
    guard Position(after) != nil else {
      throw ValidationError("--after \(after): expected a position, a number from 0")
    }
    if let limit, limit < 1 { throw ValidationError("--limit \(limit): expected at least 1") }
    try category.forEach(Export.checkCategory)
  }

  func run() async throws {
    guard follow else { return try await print() }
    try await StandardOutput.whileRead { [self] in try await print() }
  }

  private func print() async throws {
    let position = Position(after) ?? .start
    let filter = LogFilter(categories: category, types: type)
    try await store.withLog(.read) { log in
      let printer = EventPrinter(json: store.json, showsStream: true)
      let events = follow ? log.subscribe(after: position, where: filter) : log.readAll(after: position, where: filter)
      do {
        reading: for try await page in events.pages {
          for event in page {
            printer.print(event)
            if let limit, printer.count == limit { break reading }
          }
          if follow { printer.flush() }
          if StandardOutput.isLost { break reading }
        }
      } catch ReadError.cancelled where follow {
        // Interrupted: that is how following ends.
      }
      try printer.finish()
    }
  }
}

struct Export: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Write events as JSON lines that `import` takes back, ids, versions and times intact.",
    discussion: """
      Payloads are written in the clear: protect the file.

      Examples:
        esctl export > events.jsonl
        esctl export --category account --output accounts.jsonl
      """)
  @OptionGroup var store: StoreOptions

  @Option(help: ArgumentHelp("Where to write; - is standard output.", valueName: "file"))
  var output = "-"

  @Option(help: "Only streams of this category. May be given more than once.")
  var category: [String] = []

  func validate() throws {
    try category.forEach(Self.checkCategory)
    if output.isEmpty { throw ValidationError("--output: expected a path, found nothing") }
  }

  /// One that no stream can have is a mistake.
  static func checkCategory(_ name: String) throws {
    guard (try? StreamName(category: name, id: "1")) != nil else {
      throw ValidationError(
        "--category \(name.debugDescription): expected what stands before the first '-' of a stream's name")
    }
  }

  func run() async throws {
    try await store.withLog(.read) { log in
      let size = try await StoreInspection(log).size()
      let file = output == "-" ? nil : try OutputFile(path: output)
      let lines = file?.output ?? StandardOutput()
      let total = category.isEmpty && size.estimatedEvents > 0 ? size.estimatedEvents : nil
      let bar = store.progressBar("export", total: total, unit: .count("events"))
      var count = 0
      for try await page in log.readAll(where: LogFilter(categories: category)).pages {
        let subjects = try await log.subjects(of: page)
        for event in page {
          if case .failure(let error) = event.payload {
            throw CommandFailure(
              .encryption, error.code,
              "event \(event.id.uuidString.lowercased()) (\(event.stream), version \(event.version)): \(error); "
                + (output == "-" ? "the export ends before it" : "\(output) was not written"))
          }
          let subject = event.keyID.flatMap { subjects[$0] }
          let isStreams = subject?.isSameBytes(as: event.stream.description) ?? true
          lines.line { EventJSON.append(event, subject: isStreams ? nil : subject, to: &$0) }
        }
        if StandardOutput.isLost { break }
        count += page.count
        bar.update(completed: count)
      }
      lines.flush()
      try StandardOutput.checkArrival(in: output == "-" ? "the output" : output)
      bar.finish()
      if count == 0, !category.isEmpty {
        throw CommandFailure(
          .notFound, "notFound",
          "there is no event of category \(category.map(\.debugDescription).joined(separator: " or "))"
            + (output == "-" ? "" : "; \(output) was not written"))
      }
      if let file { try file.complete() }
      if !StandardOutput.isLost, output != "-" || !store.json {
        store.notice("exported \(Quantity.count(count, "event"))")
      }
    }
  }
}

extension EventLog {
  func readAll(where filter: LogFilter) -> EventSequence { readAll(after: .start, where: filter) }
}

/// Prints events one by one, and remembers whether some could not be opened.
final class EventPrinter {
  private let output = StandardOutput()
  private let json: Bool
  private let showsStream: Bool
  private(set) var count = 0
  private var unreadable = 0

  init(json: Bool, showsStream: Bool) {
    self.json = json || !output.terminal.isInteractive
    self.showsStream = showsStream
  }

  func print(_ event: RecordedEvent) {
    count += 1
    if case .failure = event.payload { unreadable += 1 }
    if json { return output.line { EventJSON.append(event, to: &$0) } }
    let place = showsStream ? "\(event.position)  \(event.stream)@\(event.version)" : String(event.version)
    let line = "\(place)  \(Timestamp.text(event.time))  \(event.type)  \(EventJSON.summary(event))"
    output.line(output.terminal.width.map { TextWidth.truncated(TextWidth.printable(line), to: $0) } ?? line)
  }

  func flush() { output.flush() }

  func finish() throws {
    output.flush()
    guard unreadable == 0 else {
      throw CommandFailure(
        .encryption, "payloadsUnreadable", "\(unreadable) of \(count) payloads could not be opened: each says why")
    }
  }
}
