internal import ArgumentParser
internal import EventStore
internal import PostgreSQL

struct Import: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Import a file: one event a row, in file order.",
    discussion: """
      A row's event id is derived from the source's name, what the row says, and how many such rows came before it: \
      importing the same file again adds nothing, an import that was interrupted goes on where it stopped, and of a file \
      that has changed the new rows are added. All columns become the event's data, as strings. JSON lines written by \
      `export` come back with their ids, versions and times; other JSON lines need --stream and --type.

      Examples:
        esctl import transactions.csv --delimiter ';' \\
          --stream 'account-{account_id}' --type '{type}' \\
          --time '{date}' --time-format yyMMdd
        esctl import events.jsonl --format jsonl
      """)
  @OptionGroup var store: StoreOptions

  @Argument(help: "The file; - is standard input.")
  var file: String

  enum Format: String, ExpressibleByArgument, CaseIterable { case csv, jsonl }
  @Option(help: "csv or jsonl. Default: by the file's ending.")
  var format: Format?

  @Option(help: "What separates columns in CSV: one ASCII character, or \\t.")
  var delimiter = ","

  @Option(help: "The stream of a row, with {column} for a column's value.")
  var stream: String?

  @Option(help: "The event type of a row, likewise.")
  var type: String?

  @Option(help: "When it happened, likewise.")
  var time: String?

  @Option(
    help:
      "How times are written: iso8601 (the default), unix, unixms, or a pattern such as yyMMdd (1970 to 2069) or 'yyyy-MM-dd HH:mm'. Without an offset: UTC."
  )
  var timeFormat: String?

  @Option(help: "Whose data a row is, for encryption, likewise. Default: the stream.")
  var subject: String?

  @Option(help: "The name that event ids are derived from. Default: the file's name without its folder; stdin for -.")
  var source: String?

  enum OnError: String, ExpressibleByArgument, CaseIterable { case stop, skip }
  @Option(help: "What to do with a bad row: stop; or report it, go on, and end with exit code 65 (skip).")
  var onError = OnError.stop

  func validate() throws {
    guard delimiterByte != nil else {
      throw ValidationError("--delimiter \(delimiter.debugDescription): expected one ASCII character, or \\t")
    }
    guard let format = resolvedFormat else {
      throw ValidationError("--format is needed: csv or jsonl")
    }
    if format == .csv, stream == nil || type == nil { throw ValidationError("CSV needs --stream and --type") }
    if timeFormat != nil, time == nil { throw ValidationError("--time-format needs --time: where a row's time stands") }
    if (stream == nil) != (type == nil) { throw ValidationError("--stream and --type go together") }
    for (name, value) in [("--time", time), ("--subject", subject), ("--source", source)]
    where stream == nil && value != nil {
      throw ValidationError("\(name) needs --stream and --type: lines that `export` wrote say it themselves")
    }
  }

  private var resolvedFormat: Format? {
    if let format { return format }
    if file.hasSuffix(".csv") { return .csv }
    return file.hasSuffix(".jsonl") || file.hasSuffix(".ndjson") ? .jsonl : nil
  }

  private var delimiterByte: UInt8? {
    if delimiter == "\\t" { return UInt8(ascii: "\t") }
    guard delimiter.utf8.count == 1, let byte = delimiter.utf8.first, CSVReader.isDelimiter(byte) else { return nil }
    return byte
  }

  func run() async throws {
    guard let delimiterByte, let resolvedFormat else { return }
    guard let stream, let type else { return try await load(try ExportedRows(path: file)) }
    let mapping = RowMapping(
      source: sourceName, stream: stream, type: type, time: time, timeFormat: try TimeFormat(timeFormat ?? "iso8601"),
      subject: subject)
    // Opened before the store: a file that is not there needs no database.
    switch resolvedFormat {
    case .csv: try await load(try CSVRows(path: file, delimiter: delimiterByte, mapping))
    case .jsonl: try await load(try JSONLineRows(path: file, mapping))
    }
  }

  private var sourceName: String {
    source ?? (file == "-" ? "stdin" : String(file.split(separator: "/").last ?? "-"))
  }

  private func load<Rows: ImportRows & ~Copyable>(_ rows: consuming Rows) async throws {
    var configuration = try await store.configuration(.write)
    configuration.connection.statementTimeout = .seconds(600)
    let log = try await PostgreSQLEventLog.open(configuration)
    let bar = store.progressBar("import", total: rows.totalSize, unit: .bytes)
    let (progress, bad): (BulkAppend.Progress, Int)
    do {
      if stream != nil { rows.identify(by: try await ContentIDs.ofStore(log)) }
      (progress, bad) = try await load(&rows, log, bar)
      await log.close()
    } catch {
      await log.close()
      throw store.naming(fullDiskBehind: error)
    }
    let output = StandardOutput()
    if store.json {
      output.line(
        .object([
          ("rows", .integer(progress.added + progress.skipped + bad)), ("added", .integer(progress.added)),
          ("skipped", .integer(progress.skipped)), ("bad", .integer(bad)),
          ("source", stream == nil ? .null : .string(sourceName)),
        ]))
    } else {
      output.line(
        "\(progress.added) \(progress.added == 1 ? "event" : "events") added, \(progress.skipped) were there already"
          // Another file of the same name may have some of the same rows.
          + (progress.skipped > 0 && stream != nil && source == nil
            ? " (from \(sourceName.debugDescription): --source tells files apart)" : "")
          + (bad > 0 ? ", \(bad) bad \(bad == 1 ? "row" : "rows") left out" : ""))
    }
    output.flush()
    if bad > 0 { throw ExitCode(ExitStatus.badInput.rawValue) }
  }

  /// The rows before a bad one are written; it and those after it are not.
  private func load<Rows: ImportRows & ~Copyable>(
    _ rows: inout Rows, _ log: PostgreSQLEventLog, _ bar: ProgressBar
  ) async throws -> (BulkAppend.Progress, bad: Int) {
    var bad = 0
    func leaveOut(_ problem: String, line: Int?) {
      bad += 1
      report("\(problem): left out", line: line, bar)
    }
    let bulk = BulkAppend(log, leavingOut: onError == .skip ? leaveOut : nil)
    var count = 0
    do {
      while true {
        do {
          guard let row = try rows.next() else { break }
          try await bulk.append(row.event, to: row.stream, version: row.version, line: rows.line)
        } catch let problem as RowProblem where onError == .skip && problem.canGoOn {
          leaveOut(problem.description, line: problem.line)
        } catch AppendError.invalid(let problem) where onError == .skip {
          leaveOut("line \(rows.line): \(problem)", line: rows.line)
        }
        count += 1
        if count & 255 == 0 {
          bar.update(completed: rows.bytesConsumed, detail: Quantity.count(count, "row"))
          try Task.checkCancellation()
        }
      }
      let progress = try await bulk.finish()
      bar.update(completed: rows.bytesConsumed, detail: Quantity.count(count, "row"))
      bar.finish()
      return (progress, bad)
    } catch {
      bar.finish()
      throw await failure(error, bulk, line: rows.line)
    }
  }

  private func report(_ problem: String, line: Int?, _ bar: ProgressBar) {
    guard store.json else { return bar.print("esctl: \(problem)") }
    let details = line.map { [("line", JSONValue.integer($0))] } ?? []
    CommandFailure(.badInput, "badRow", problem, details: details).complain(json: true)
  }

  /// Says how far the import came. After a bad row, or when it was interrupted, what came before is still written.
  private func failure(_ error: any Error, _ bulk: BulkAppend, line: Int) async -> CommandFailure {
    var problem: CommandFailure
    switch error {
    case _ where Task.isCancelled: problem = CommandFailure(.failed, "cancelled", "interrupted")
    case let row as RowProblem:
      problem = CommandFailure(.badInput, "badInput", row.description, details: [("line", .integer(row.line))])
    case AppendError.invalid(let text):
      let hasLine = text.hasPrefix("line ")
      problem = CommandFailure(
        .badInput, "badInput", hasLine ? text : "line \(line): \(text)",
        details: [("line", .integer(bulk.refusedLine ?? line))])
    case AppendError.duplicateEventID(let id, let stream):
      problem = CommandFailure(error)
      let line = bulk.refusedLine ?? line
      problem.description =
        "line \(line): this row is in stream \(stream) already, with another type, time, subject or content (event \(id)): "
        + (self.stream == nil ? "" : "--source NAME imports the file as another one, ")
        + "--on-error skip leaves such rows out"
      problem.details.append(("line", .integer(line)))
    case AppendError.unavailable(let cause), AppendError.outcomeUnknown(let cause):
      problem = CommandFailure(.unavailable, "unavailable", "the database is unavailable: \(cause)")
      if store.isEmbedded { problem.description += " (its log: \(store.directoryPath)/postgres.log)" }
    case AppendError.database(let cause) where cause.sqlState != "2200H":
      problem = CommandFailure(.failed, "database", "the database refused a batch: \(cause)")
    default: problem = CommandFailure(error)
    }
    if problem.status == .badInput || problem.status == .conflict || Task.isCancelled {
      // In a task of its own, which is not cancelled.
      let finished = await Task { [bulk = Handover(bulk)] in
        do throws(AppendError) { try await bulk.value.finish() } catch { return error as AppendError? }
        return nil
      }.value
      if let finished { problem.description += "; then: \(finished)" }
    }
    let goingOn =
      switch problem.status {
      case .conflict: ""
      case .badInput: "; once the row is mended, or with --on-error skip, the same command goes on from there"
      default: "; the same command goes on from there"
      }
    let added = bulk.progress.added
    // Of a batch that was under way when the server went, nobody can say.
    problem.description +=
      ". \(problem.status == .unavailable ? "At least " : "")\(Quantity.count(added)) "
      + "\(added == 1 ? "event was" : "events were") added before"
      + goingOn
    problem.details.append(("added", .integer(added)))
    return problem
  }
}
