internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Replay

struct History: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "How a stream came to be what it is: each event, when, by whom, and what it changed.",
    discussion: """
      Who: the first of the metadata's actor, userId, user and by; or the key that --who names.

      Examples:
        esctl history account-42
        esctl history account-42 --from 100 --json
        esctl history account-42 --follow --who operator
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: "The stream, as category-id.")
  var stream: String

  @Option(name: .customLong("from"), help: "The first version.")
  var first = 1

  @Option(help: ArgumentHelp("The metadata key that says who did it.", valueName: "key"))
  var who: String?

  @Flag(help: "Go on with new events as they are committed, until interrupted.")
  var follow = false

  func validate() throws {
    guard first >= 1 else { throw ValidationError("--from \(first): versions start at 1") }
  }

  func run() async throws {
    guard follow else { return try await print() }
    try await StandardOutput.whileRead { [self] in try await print() }
  }

  private func print() async throws {
    let name = try StreamName(stream)
    try await store.withLog(.read) { log in
      let printer = HistoryPrinter(json: store.json, who: who)
      // What comes before an event that cannot be opened is shown.
      defer { printer.flush() }
      let replay = CommandEnvironment.replay(of: name.category, in: log)
      var last = (version: first - 1, position: Position.start)
      do {
        try await replay.steps(of: name, from: first, at: .latest) { step in
          printer.print(step)
          last = (step.event.version, step.event.position)
        }
      } catch AggregateError.versionNotReached(let stream, asked: first - 1, let last) {
        // The state before it was asked for.
        throw AggregateError.versionNotReached(stream, asked: first, last: last)
      }
      printer.flush()
      guard follow else { return try StandardOutput.checkArrival() }
      do {
        for try await page in log.subscribe(after: last.position, where: .category(name.category)).pages {
          guard let newest = page.last(where: { $0.stream == name }), newest.version > last.version else { continue }
          try await replay.steps(of: name, from: last.version + 1, at: .version(newest.version)) { printer.print($0) }
          last.version = newest.version
          printer.flush()
          if StandardOutput.isLost { break }
        }
      } catch ReadError.cancelled {
        // Interrupted: that is how following ends.
      }
    }
  }
}

/// A line an event, in columns; on a terminal the changes are broken into as many lines as they need.
private final class HistoryPrinter {
  private let output = StandardOutput()
  private let json: Bool
  private let keys: [String]
  private let changes: ReplayPrinter
  private var widths = (type: 12, who: 4)
  private var hasHeading = false
  /// Not yet printed: columns are as wide as the widest of them.
  private var waiting: [StreamStep] = []

  private static let mostWaiting = 100
  private static let longestChange = 60
  /// With microseconds.
  private static let longestTime = 27

  init(json: Bool, who: String?) {
    self.json = json
    keys = who.map { [$0] } ?? ["actor", "userId", "user", "by"]
    changes = ReplayPrinter(json: json)
  }

  func flush() {
    printWaiting()
    changes.output.flush()
    output.flush()
  }

  func print(_ step: StreamStep) {
    if json { return changes.print(step.event, step.changes, who: who(of: step) ?? "") }
    waiting.append(step)
    if waiting.count == Self.mostWaiting { printWaiting() }
  }

  private func who(of step: StreamStep) -> String? {
    // What is null names nobody.
    keys.lazy.compactMap { step.event.metadata[$0] }.first { $0 != "null" }
  }

  private func printWaiting() {
    guard !waiting.isEmpty else { return }
    for step in waiting {
      widths.type = max(widths.type, TextWidth.of(cut(step.event.type, to: 32)))
      widths.who = max(widths.who, TextWidth.of(cut(who(of: step) ?? "", to: 20)))
    }
    if !hasHeading {
      hasHeading = true
      output.line(output.terminal.styled(columns("VERSION", "TIME", "TYPE", "WHO") + "WHAT CHANGED", .bold))
    }
    for step in waiting { printLine(step) }
    waiting.removeAll(keepingCapacity: true)
  }

  private func printLine(_ step: StreamStep) {
    let head = columns(
      String(step.event.version), Timestamp.text(step.event.time), step.event.type, who(of: step) ?? "-")
    let changes = step.changes.isEmpty ? ["-"] : step.changes.map(ReplayPrinter.text)
    guard let width = output.terminal.width, width > TextWidth.of(head) + 20 else {
      return output.line(TextWidth.printable(head + changes.joined(separator: ", ")))
    }
    let indent = TextWidth.of(head)
    var line = head
    for (index, change) in changes.enumerated() {
      let text =
        TextWidth.truncated(TextWidth.printable(change), to: min(Self.longestChange, width - indent - 1))
        + (index < changes.count - 1 ? "," : "")
      if TextWidth.of(line) > indent, TextWidth.of(line) + 1 + TextWidth.of(text) > width {
        output.line(line)
        line = String(repeating: " ", count: indent)
      }
      line += (TextWidth.of(line) > indent ? " " : "") + text
    }
    output.line(line)
  }

  private func columns(_ version: String, _ time: String, _ type: String, _ who: String) -> String {
    TextWidth.padded(version, to: 7, alignedRight: true) + "  " + TextWidth.padded(time, to: Self.longestTime) + "  "
      + TextWidth.padded(cut(type, to: 32), to: widths.type) + "  "
      + TextWidth.padded(cut(who, to: 20), to: widths.who) + "  "
  }

  /// As in tables: in a file or pipe nothing is cut.
  private func cut(_ text: String, to width: Int) -> String {
    let text = TextWidth.printable(text)
    return output.terminal.isInteractive ? TextWidth.truncated(text, to: width) : text
  }
}
