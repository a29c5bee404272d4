internal import ArgumentParser
internal import EventStore
internal import PostgreSQL

struct Import: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Import a file: one event a row, in file order.",
    discussion: """
      A row's event id is derived from the source's name, the row's number and its bytes: importing the same file again
      adds nothing, and an import that was interrupted goes on where it stopped. All columns become the event's data,
      as strings. JSON lines written by `export` come back with their ids, versions and times; other JSON lines need
      --stream and --type.

      Examples:
        esctl import transactions.csv --format csv --delimiter ';' --stream 'account-{account_id}' --type '{type}' \\
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

  @Option(help: "How times are written: iso8601, unix, unixms, or a pattern such as yyMMdd or 'yyyy-MM-dd HH:mm'.")
  var timeFormat = "iso8601"

  @Option(help: "Whose data a row is, for encryption, likewise. Default: the stream.")
  var subject: String?

  @Option(help: "The name that event ids are derived from. Default: the file's name without its folder.")
  var source: String?

  enum OnError: String, ExpressibleByArgument, CaseIterable { case stop, skip }
  @Option(help: "What to do with a bad row: stop, or report it and go on (skip).")
  var onError = OnError.stop

  func validate() throws {
    guard delimiterByte != nil else {
      throw ValidationError("--delimiter \(delimiter.debugDescription): expected one ASCII character, or \\t")
    }
    guard let format = resolvedFormat else {
      throw ValidationError("--format is needed: csv or jsonl")
    }
    if format == .csv, stream == nil || type == nil { throw ValidationError("CSV needs --stream and --type") }
    if (stream == nil) != (type == nil) { throw ValidationError("--stream and --type go together") }
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
      source: source ?? (file == "-" ? "stdin" : String(file.split(separator: "/").last ?? "-")), stream: stream,
      type: type, time: time, timeFormat: try TimeFormat(timeFormat), subject: subject)
    // Opened before the store: a file that is not there needs no database.
    switch resolvedFormat {
    case .csv: try await load(try CSVRows(path: file, delimiter: delimiterByte, mapping))
    case .jsonl: try await load(try JSONLineRows(path: file, mapping))
    }
  }

  private func load<Rows: ImportRows & ~Copyable>(_ rows: consuming Rows) async throws {
    var configuration = try await store.configuration(.write)
    configuration.connection.statementTimeout = .seconds(600)
    let log = try await PostgreSQLEventLog.open(configuration)
    let errors = StandardOutput(descriptor: 2).terminal
    let bar = ProgressBar("import", total: rows.totalSize, unit: .bytes, terminal: errors)
    let (progress, bad): (BulkAppend.Progress, Int)
    do {
      (progress, bad) = try await load(&rows, log, bar)
      await log.close()
    } catch {
      await log.close()
      throw error
    }
    let output = StandardOutput()
    if store.json {
      output.line(
        .object([
          ("rows", .integer(progress.added + progress.skipped + bad)), ("added", .integer(progress.added)),
          ("skipped", .integer(progress.skipped)), ("bad", .integer(bad)),
        ]))
    } else {
      output.line(
        "\(progress.added) events added, \(progress.skipped) were there already"
          + (bad > 0 ? ", \(bad) bad rows left out" : ""))
    }
    output.flush()
    if bad > 0 { throw ExitCode(ExitStatus.badInput.rawValue) }
  }

  /// The rows before a bad one are written; it and those after it are not.
  private func load<Rows: ImportRows & ~Copyable>(
    _ rows: inout Rows, _ log: PostgreSQLEventLog, _ bar: ProgressBar
  ) async throws -> (BulkAppend.Progress, bad: Int) {
    let bulk = BulkAppend(log)
    var bad = 0
    var count = 0
    do {
      while true {
        do {
          guard let row = try rows.next() else { break }
          try await bulk.append(row.event, to: row.stream, version: row.version)
        } catch let problem as RowProblem where onError == .skip && problem.canGoOn {
          bad += 1
          bar.print("esctl: \(problem.description): left out")
        } catch AppendError.invalid(let problem) where onError == .skip {
          bad += 1
          bar.print("esctl: line \(rows.line): \(problem): left out")
        }
        count += 1
        if count & 255 == 0 {
          bar.update(completed: rows.bytesConsumed, detail: "\(Quantity.count(count)) rows")
          try Task.checkCancellation()
        }
      }
      let progress = try await bulk.finish()
      bar.update(completed: rows.bytesConsumed, detail: "\(Quantity.count(count)) rows")
      bar.finish()
      return (progress, bad)
    } catch {
      bar.finish()
      // What came before the bad row, or before the interruption, is kept whole and in order.
      let isOurs =
        error is RowProblem || error is CancellationError
        || { if case AppendError.invalid = error { true } else { false } }()
      let progress =
        isOurs ? try await Task { [bulk = Handover(bulk)] in try await bulk.value.finish() }.value : bulk.progress
      let kept = "\(progress.added) events before it were added; the same command goes on from there"
      switch error {
      case let problem as RowProblem:
        throw CommandFailure(
          .badInput, "badInput", "\(problem.description). \(kept)",
          details: [("line", .integer(problem.line)), ("added", .integer(progress.added))])
      case AppendError.invalid(let problem):
        throw CommandFailure(
          .badInput, "badInput", "line \(rows.line): \(problem). \(kept)",
          details: [("line", .integer(rows.line)), ("added", .integer(progress.added))])
      case is CancellationError:
        throw CommandFailure(.failed, "cancelled", "interrupted; \(kept)")
      default: throw error
      }
    }
  }
}
