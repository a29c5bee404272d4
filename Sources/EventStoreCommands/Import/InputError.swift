/// Why an input could not be read on. Positions are given, contents never: they may be payloads.
package enum InputError: Error, Hashable, Sendable {
  /// The file could not be opened; `reason` is the system's.
  case cannotOpen(path: String, reason: String)
  /// Reading failed; `reason` is the system's.
  case cannotRead(path: String, reason: String)
  /// A line, or a CSV row with its quoted line ends, is longer than the limit in bytes.
  case tooLong(line: Int, limit: Int)
  case csv(CSVProblem, line: Int)
  /// The task was cancelled while nothing came.
  case interrupted
}

/// What is wrong with CSV. After ``wrongFieldCount(found:expected:)``, ``invalidUTF8(column:)`` and
/// ``strayQuote(column:)`` the next row can be read; after the others reading is over.
package enum CSVProblem: Hashable, Sendable {
  case noHeader
  /// The column's number, from 1.
  case emptyColumnName(column: Int)
  case carriageReturnInHeader
  case duplicateColumnName(String, first: Int, second: Int)
  case wrongFieldCount(found: Int, expected: Int)
  case unterminatedQuote(column: Int)
  case strayQuote(column: Int)
  /// A stray quote, and then a field with a line break.
  case endlessRow(column: Int)
  case invalidUTF8(column: Int)
}

extension InputError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .cannotOpen(let path, let reason):
      "cannot open \(path): \(reason); check the path and its permissions, or use - for standard input"
    case .cannotRead(let path, let reason): "cannot read \(path): \(reason)"
    case .tooLong(let line, let limit):
      "line \(line): expected at most \(limit) bytes, found more; "
        + "check for a missing line end or closing quote"
    case .csv(let problem, let line): "line \(line): \(problem)"
    case .interrupted: "interrupted"
    }
  }
}

extension CSVProblem: CustomStringConvertible {
  package var description: String {
    switch self {
    case .noHeader: "expected a header line with the columns' names, found an empty input"
    case .emptyColumnName(let column): "column \(column) has no name; give every column of the header a name"
    case .carriageReturnInHeader:
      "the header has a carriage return within: end every line with a line feed, with or without one before it"
    case .duplicateColumnName(let name, let first, let second):
      "columns \(first) and \(second) are both named \"\(name)\"; rename one of them"
    case .wrongFieldCount(let found, let expected):
      "expected \(expected) fields as in the header, found \(found); "
        + (found == 1
          ? "check that the delimiter is right" : "put fields that hold the delimiter in double quotes")
    case .unterminatedQuote(let column):
      "column \(column) opens a double quote that is never closed; close it, or double it (\"\") if it is "
        + "meant as text"
    case .endlessRow(let column):
      "column \(column): a quote in the middle of a field, and behind it a quoted field with a line break, so that nobody can "
        + "say where the next row begins: mend this row"
    case .strayQuote(let column):
      "column \(column) has a double quote in the wrong place; put the whole field in double quotes and "
        + "double those inside it (\"\")"
    case .invalidUTF8(let column): "column \(column) is not valid UTF-8; convert the file to UTF-8"
    }
  }
}
