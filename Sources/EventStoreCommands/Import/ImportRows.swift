internal import EventStore
internal import FoundationEssentials

/// A row as the event that it becomes.
struct ImportRow {
  let stream: StreamName
  let event: EventData
  /// Where an exported event stood in its stream.
  var version: Int?
}

/// The rows of a file, in order.
protocol ImportRows: ~Copyable {
  /// To be called once, before the first row: what makes the ids of rows that have none.
  mutating func identify(by ids: ContentIDs)
  /// The next row's event; `nil` at the end.
  ///
  /// - Throws: ``RowProblem``.
  mutating func next() throws(RowProblem) -> ImportRow?
  /// The line on which the current row begins.
  var line: Int { get }
  /// What is done, of ``totalSize`` bytes; that is `nil` for a pipe.
  var bytesConsumed: Int { get }
  var totalSize: Int? { get }
}

/// A row that cannot become an event.
struct RowProblem: Error, CustomStringConvertible {
  let line: Int
  let problem: String
  /// Whether the rows after it can be read.
  let canGoOn: Bool

  init(line: Int, _ problem: String, canGoOn: Bool = true) {
    self.line = line
    self.problem = problem
    self.canGoOn = canGoOn
  }

  init(_ error: InputError, line: Int) {
    self.line =
      if case .csv(_, let line) = error { line } else if case .tooLong(let line, _) = error { line } else { line }
    problem = error.description
    canGoOn =
      switch error {
      case .csv(.wrongFieldCount, _), .csv(.invalidUTF8, _), .csv(.strayQuote, _): true
      default: false
      }
  }

  var description: String { problem.hasPrefix("line \(line):") ? problem : "line \(line): \(problem)" }
}

/// Makes event ids from what a row says, and from how many such rows there were before it: the same row of the same source
/// is the same event at every import, also when other rows have come before it since.
///
/// Keeps a number of 64 bits for each row in memory.
struct RowIdentity {
  var ids: ContentIDs?
  private let sourceSize: Int
  /// The source's name, then the current row.
  private var buffer: [UInt8]
  private var seen: Set<UInt64> = []
  /// Of rows that came more than once, how often again.
  private var repeats: [UInt64: UInt64] = [:]

  init(source: String) {
    buffer = Array("eventstore import 3".utf8) + Array(source.utf8) + [0]
    sourceSize = buffer.count
  }

  /// Adds to the current row; what has a length of its own cannot be taken for another row's.
  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    withUnsafeBytes(of: UInt32(truncatingIfNeeded: bytes.count).bigEndian) { buffer.append(contentsOf: $0) }
    buffer.append(contentsOf: bytes)
  }

  /// The id of the row that was added; the next one begins.
  mutating func next() -> UUID {
    guard let ids else { preconditionFailure("rows are read before anything makes their ids") }
    defer { buffer.removeSubrange(sourceSize...) }
    let id = ids.id(of: buffer)
    let digest = withUnsafeBytes(of: id.uuid) { $0.loadUnaligned(as: UInt64.self) }
    if seen.insert(digest).inserted { return id }
    let count = repeats[digest, default: 0] + 1
    repeats[digest] = count
    withUnsafeBytes(of: count.bigEndian) { buffer.append(contentsOf: $0) }
    return ids.id(of: buffer)
  }
}

/// Fills in the texts that a row's event needs.
struct RowTexts {
  private var scratch: [UInt8] = []

  /// Lets `render` write a text; gives it as a string.
  mutating func text(
    line: Int, _ render: (inout [UInt8]) throws(RowTemplateError) -> Void
  ) throws(RowProblem) -> String {
    scratch.removeAll(keepingCapacity: true)
    do throws(RowTemplateError) { try render(&scratch) } catch { throw RowProblem(line: line, error.description) }
    return String(decoding: scratch, as: UTF8.self)
  }

  mutating func stream(
    line: Int, _ render: (inout [UInt8]) throws(RowTemplateError) -> Void
  ) throws(RowProblem) -> StreamName {
    let name = try text(line: line, render)
    do throws(InvalidName) { return try StreamName(name) } catch { throw RowProblem(line: line, error.description) }
  }

  mutating func time(
    line: Int, _ format: TimeFormat, _ render: (inout [UInt8]) throws(RowTemplateError) -> Void
  ) throws(RowProblem) -> Date {
    scratch.removeAll(keepingCapacity: true)
    do throws(RowTemplateError) { try render(&scratch) } catch { throw RowProblem(line: line, error.description) }
    let result = scratch.withUnsafeBytes { bytes in
      Result { () throws(TimeFormatError) in try format.date(bytes) }
    }
    do throws(TimeFormatError) { return try result.get() } catch { throw RowProblem(line: line, "time: \(error)") }
  }
}

/// How the columns of a row become an event.
struct RowMapping {
  let source: String
  let stream: String
  let type: String
  let time: String?
  let timeFormat: TimeFormat
  let subject: String?
}
