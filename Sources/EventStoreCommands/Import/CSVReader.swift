import EventStore

#if canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// Rows of a CSV file or pipe (RFC 4180), one after the other, borrowed from buffers that are used again.
///
/// Fields may be in double quotes, and then hold delimiters, line ends and doubled quotes. Rows end with LF
/// or CRLF, the last one may end without. A UTF-8 byte order mark is skipped, so are blank lines. The first
/// row names the columns; every other row has as many fields, all valid UTF-8. Spaces belong to the fields.
package struct CSVReader: ~Copyable {
  private struct Field {
    var start = 0
    var end = 0
    /// Stands in `scratch`, its doubled quotes made single ones; otherwise in the input's window.
    var isInScratch = false
  }

  /// The columns' names, from the header.
  package private(set) var columns: [String] = []
  /// The line on which the current row begins, from 1.
  package private(set) var lineNumber = 0

  private var input: ByteInput
  private let delimiter: UInt8
  private let limit: Int
  private var next = 0
  private var nextLine = 1
  private var row = 0..<0
  private var fields: [Field] = []
  /// How many fields the current row has; `fields` keeps at most as many as there are columns.
  private var found = 0
  private var scratch = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  private var scratchUsed = 0

  /// Opens the file and reads its header.
  ///
  /// - Parameters:
  ///   - path: `-` is standard input.
  ///   - delimiter: see ``isDelimiter(_:)``; anything else traps.
  ///   - limit: the longest row allowed, in bytes.
  package init(
    path: String, delimiter: UInt8 = UInt8(ascii: ","), limit: Int = LineReader.defaultLimit
  ) throws(InputError) {
    try self.init(input: ByteInput(path: path), delimiter: delimiter, limit: limit)
  }

  /// Reads the header from an open descriptor, which stays open.
  package init(
    descriptor: Int32, name: String, delimiter: UInt8 = UInt8(ascii: ","),
    limit: Int = LineReader.defaultLimit
  ) throws(InputError) {
    let input = ByteInput(name: name, source: .descriptor(descriptor, closes: false))
    try self.init(input: input, delimiter: delimiter, limit: limit)
  }

  init(
    input: consuming ByteInput, delimiter: UInt8 = UInt8(ascii: ","), limit: Int = LineReader.defaultLimit
  ) throws(InputError) {
    precondition(Self.isDelimiter(delimiter), "a delimiter is one ASCII byte, not a quote or a line end")
    self.input = input
    self.delimiter = delimiter
    self.limit = limit
    try readHeader()
  }

  deinit { scratch.deallocate() }

  /// Whether a byte can be a delimiter: ASCII, not NUL, a double quote or a line end.
  package static func isDelimiter(_ byte: UInt8) -> Bool {
    byte > 0 && byte < 0x80 && byte != UInt8(ascii: "\"") && byte != 0x0A && byte != 0x0D
  }

  // MARK: - The current row

  /// The text of field `index` of the current row, without its quotes. Valid until the next ``advance()``.
  @inline(__always)
  package func field(_ index: Int) -> UnsafeRawBufferPointer {
    let field = fields[index]
    return field.isInScratch
      ? UnsafeRawBufferPointer(rebasing: scratch[field.start..<field.end])
      : UnsafeRawBufferPointer(rebasing: input.window[field.start..<field.end])
  }

  /// The current row as it stands in the input, quotes and all, without its line end.
  /// Valid until the next ``advance()``.
  package var rawRow: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: input.window[row]) }

  /// Where the current row begins, in bytes from the start of the input.
  package var byteOffset: Int { input.windowOffset + row.lowerBound }

  /// Where the current row is over, in bytes from the start of the input: what is done, for progress.
  package var bytesConsumed: Int { input.windowOffset + next }

  /// How many bytes were read from the input, a chunk ahead of the rows.
  package var bytesRead: Int { input.bytesRead }

  /// The input's size in bytes; nil for a pipe.
  package var totalSize: Int? { input.totalSize }

  // MARK: - Reading

  /// Goes to the next row. Returns false at the end of the input. After an error there is no current row.
  ///
  /// - Throws: see ``CSVProblem`` for those after which the next row can be read.
  package mutating func advance() throws(InputError) -> Bool {
    guard try scanRow() else { return false }
    guard found == columns.count else {
      throw problem(.wrongFieldCount(found: found, expected: columns.count))
    }
    return true
  }

  private mutating func readHeader() throws(InputError) {
    next = try input.byteOrderMarkLength()
    guard try scanRow() else { throw .csv(.noHeader, line: 1) }
    // That only counted the fields: scan the row again, with room to keep them.
    fields = Array(repeating: Field(), count: found)
    next = row.lowerBound
    nextLine = lineNumber
    _ = try scanRow()
    var seen: [[UInt8]: Int] = [:]
    for index in fields.indices {
      let name = Array(field(index))
      guard !name.isEmpty else { throw problem(.emptyColumnName(column: index + 1)) }
      columns.append(String(decoding: name, as: UTF8.self))
      guard !name.contains(UInt8(ascii: "\r")) else { throw problem(.carriageReturnInHeader) }
      if let first = seen.updateValue(index + 1, forKey: name) {
        throw problem(.duplicateColumnName(columns[index], first: first, second: index + 1))
      }
    }
  }

  /// Finds the next row that is not blank, reading more input as needed. Returns false at the end.
  private mutating func scanRow() throws(InputError) -> Bool {
    while true {
      switch try scanWindow() {
      case .row:
        guard row.count <= limit else { throw .tooLong(line: lineNumber, limit: limit) }
        return true
      case .blank: continue
      case .end: return false
      case .incomplete: try readMore()
      }
    }
  }

  private mutating func readMore() throws(InputError) {
    let held = input.window.count - next
    guard held <= limit + 2 else { throw .tooLong(line: nextLine, limit: limit) }
    // The row is scanned again from its start, so a long one waits for half as much again: linear, not
    // quadratic.
    let wanted = held < 1 << 16 ? held + 1 : held + held / 2
    var start = next
    next = 0
    row = 0..<0
    while try input.more(keepingFrom: start), input.window.count < wanted { start = 0 }
  }

  private enum Scanned { case row, blank, end, incomplete }

  /// Scans the row that begins at `next`, if the window holds all of it.
  private mutating func scanWindow() throws(InputError) -> Scanned {
    let window = input.window
    let isAtEnd = input.isAtEnd
    let delimiter = self.delimiter
    let start = next
    var index = start
    var end = start
    var lineEnds = 0
    var allBits: UInt8 = 0
    found = 0
    scratchUsed = 0
    row = start..<start
    guard index < window.count else { return isAtEnd ? .end : .incomplete }

    while true {
      let fieldStart = index
      if index < window.count, window[index] == UInt8(ascii: "\"") {
        index += 1
        var doubled = 0
        while true {
          guard index < window.count else {
            if !isAtEnd { return .incomplete }
            lineNumber = nextLine
            next = window.count
            throw problem(.unterminatedQuote(column: found + 1))
          }
          let byte = window[index]
          if byte == UInt8(ascii: "\"") {
            if index + 1 == window.count, !isAtEnd { return .incomplete }
            guard index + 1 < window.count, window[index + 1] == UInt8(ascii: "\"") else { break }
            doubled += 1
            index += 1
          }
          if byte == 0x0A { lineEnds += 1 }
          allBits |= byte
          index += 1
        }
        keep(fieldStart + 1..<index, doubledQuotes: doubled)
        index += 1
        end = index
        if index < window.count, window[index] == 0x0D {
          guard index + 1 < window.count || isAtEnd else { return .incomplete }
          if index + 1 == window.count || window[index + 1] == 0x0A { index += 1 }
        }
        guard index < window.count || isAtEnd else { return .incomplete }
        if index < window.count, window[index] != delimiter, window[index] != 0x0A {
          try failSkippingRow(from: index, column: found, lineEnds: lineEnds)
        }
      } else {
        while index < window.count {
          let byte = window[index]
          if byte == delimiter || byte == 0x0A { break }
          if byte == UInt8(ascii: "\"") {
            try failSkippingRow(from: index, column: found + 1, lineEnds: lineEnds)
          }
          allBits |= byte
          index += 1
        }
        guard index < window.count || isAtEnd else { return .incomplete }
        end = index
        let isLast = index == window.count || window[index] == 0x0A
        if isLast, end > fieldStart, window[end - 1] == 0x0D { end -= 1 }
        keep(fieldStart..<end, doubledQuotes: 0)
      }
      guard index < window.count, window[index] == delimiter else { break }
      index += 1
    }

    row = start..<end
    next = min(index + 1, window.count)
    lineNumber = nextLine
    nextLine += lineEnds + 1
    if row.isEmpty { return .blank }
    if allBits >= 0x80, let invalid = UTF8Check.firstInvalidByte(in: rawRow) {
      throw problem(.invalidUTF8(column: column(ofByte: invalid)))
    }
    return .row
  }

  /// Makes the field that stands at `range` of the window the row's next one.
  @inline(__always)
  private mutating func keep(_ range: Range<Int>, doubledQuotes: Int) {
    found += 1
    guard found <= fields.count else { return }
    if doubledQuotes == 0 {
      fields[found - 1] = Field(start: range.lowerBound, end: range.upperBound)
    } else {
      keepUnescaped(range, count: range.count - doubledQuotes)
    }
  }

  private mutating func keepUnescaped(_ range: Range<Int>, count: Int) {
    if scratch.count < scratchUsed + count {
      let larger = UnsafeMutableRawBufferPointer.allocate(
        byteCount: max(256, (scratchUsed + count) * 2), alignment: 16)
      larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: scratch[..<scratchUsed]))
      scratch.deallocate()
      scratch = larger
    }
    let window = input.window
    let start = scratchUsed
    var index = range.lowerBound
    while index < range.upperBound {
      scratch[scratchUsed] = window[index]
      scratchUsed += 1
      index += window[index] == UInt8(ascii: "\"") ? 2 : 1
    }
    fields[found - 1] = Field(start: start, end: scratchUsed, isInScratch: true)
  }

  // MARK: - Problems

  private func problem(_ problem: CSVProblem) -> InputError { .csv(problem, line: lineNumber) }

  /// Reports a stray quote; the next row begins on the next line. Not where a later field of the row has a line break: what
  /// follows that may be the inside of a field.
  private mutating func failSkippingRow(from index: Int, column: Int, lineEnds: Int) throws(InputError) -> Never {
    lineNumber = nextLine
    nextLine += lineEnds + 1
    row = 0..<0
    next = index
    var isQuoted = false
    // Where a quote begins a field, or, just behind another, stands for one in it.
    var mayOpen = false
    skipping: while true {
      let window = input.window
      while next < window.count {
        let byte = window[next]
        next += 1
        let isQuote = byte == UInt8(ascii: "\"")
        if isQuoted {
          isQuoted = !isQuote
          mayOpen = isQuote
          if byte == 0x0A { throw problem(.endlessRow(column: column)) }
        } else if byte == 0x0A {
          break skipping
        } else {
          isQuoted = isQuote && mayOpen
          mayOpen = byte == delimiter
        }
      }
      let hasMore = try input.more(keepingFrom: window.count)
      next = 0
      if !hasMore { break }
    }
    throw problem(.strayQuote(column: column))
  }

  /// The number of the column, from 1, in which byte `offset` of the current row stands.
  private func column(ofByte offset: Int) -> Int {
    var column = 1
    var isQuoted = false
    for byte in rawRow[..<offset] {
      if byte == UInt8(ascii: "\"") { isQuoted.toggle() }
      if byte == delimiter, !isQuoted { column += 1 }
    }
    return column
  }
}
