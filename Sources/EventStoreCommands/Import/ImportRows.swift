internal import CSodium
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
    self.line = if case .csv(_, let line) = error { line } else if case .tooLong(let line, _) = error { line } else { line }
    problem = error.description
    canGoOn =
      switch error {
      case .csv(.wrongFieldCount, _), .csv(.invalidUTF8, _), .csv(.strayQuote, _): true
      default: false
      }
  }

  var description: String { problem.hasPrefix("line \(line):") ? problem : "line \(line): \(problem)" }
}

/// Makes event ids from where a row stands and what it says, so that the same row of the same source is the same event
/// at every import.
struct RowIdentity {
  private let source: [UInt8]
  private var row: UInt64 = 0

  init(source: String) { self.source = Array(source.utf8) }

  /// A UUID of version 8 (RFC 9562): BLAKE2b-128 over source, row number and the row's bytes.
  mutating func next(_ bytes: UnsafeRawBufferPointer) -> UUID {
    row += 1
    var state = crypto_generichash_state()
    crypto_generichash_init(&state, nil, 0, 16)
    func add(_ bytes: UnsafeRawBufferPointer) {
      crypto_generichash_update(&state, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt64(bytes.count))
    }
    source.withUnsafeBytes { source in
      withUnsafeBytes(of: (UInt64(source.count).bigEndian, row.bigEndian)) { add($0) }
      add(source)
    }
    add(bytes)
    return withUnsafeTemporaryAllocation(byteCount: 16, alignment: 16) { digest in
      crypto_generichash_final(&state, digest.baseAddress?.assumingMemoryBound(to: UInt8.self), 16)
      digest[6] = digest[6] & 0x0F | 0x80
      digest[8] = digest[8] & 0x3F | 0x80
      return UUID(uuid: digest.loadUnaligned(as: uuid_t.self))
    }
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
