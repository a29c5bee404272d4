package import FoundationEssentials

/// How times are written in an input: `iso8601`, `unix` (seconds), `unixms` (milliseconds), or a pattern.
///
/// A pattern has the tokens yyyy, yy (70…99 are 1970…1999, 00…69 are 2000…2069), MM or M, dd or d, HH or H,
/// mm, ss, S… (as many digits of a second's fraction), Z or XXX (`Z`, `+02:00`, `+0200` or `+02`). Other
/// letters stand in single quotes, `''` is a quote, everything else stands for itself. A time without an
/// offset is UTC.
package struct TimeFormat: Hashable, Sendable {
  private enum Token: Hashable {
    case year, shortYear, month, day, hour, minute, second, offset
    case looseMonth, looseDay, looseHour
    case fraction(digits: Int)
    case literal([UInt8])

    /// Tokens of the same part may not stand in one pattern.
    var part: Part? {
      switch self {
      case .year, .shortYear: .year
      case .month, .looseMonth: .month
      case .day, .looseDay: .day
      case .hour, .looseHour: .hour
      case .minute: .minute
      case .second: .second
      case .fraction: .fraction
      case .offset: .offset
      case .literal: nil
      }
    }
  }

  private enum Part: String {
    case year = "yyyy or yy", month = "MM", day = "dd", hour = "HH", minute = "mm", second = "ss", fraction =
      "SSS"
    case offset = "Z"
  }

  private enum Kind: Hashable {
    case iso8601, unix, unixMilliseconds
    case pattern([Token])
  }

  private let kind: Kind

  /// Dates and times as `2026-11-21T03:48:13.123456Z`: fraction, offset and time may be missing, a space may
  /// stand for the T.
  package static let iso8601 = TimeFormat(kind: .iso8601)

  private init(kind: Kind) { self.kind = kind }

  /// - Parameter text: a name or a pattern.
  /// - Throws: the pattern has an unknown or repeated token, or lacks one.
  package init(_ text: String) throws(TimeFormatError) {
    switch text {
    case "iso8601": kind = .iso8601
    case "unix": kind = .unix
    case "unixms": kind = .unixMilliseconds
    default: kind = .pattern(try Self.tokens(of: Array(text.utf8)))
    }
  }

  // MARK: - Pattern

  private static func tokens(of pattern: [UInt8]) throws(TimeFormatError) -> [Token] {
    guard !pattern.isEmpty else { throw .emptyPattern }
    var tokens: [Token] = []
    var literal: [UInt8] = []
    var index = 0
    while index < pattern.count {
      let byte = pattern[index]
      if byte == UInt8(ascii: "'") {
        literal += try quoted(in: pattern, at: &index)
        continue
      }
      guard (byte | 0x20) >= UInt8(ascii: "a"), (byte | 0x20) <= UInt8(ascii: "z") else {
        literal.append(byte)
        index += 1
        continue
      }
      let length = pattern[index...].prefix { $0 == byte }.count
      guard let token = token(letter: byte, length: length) else {
        let text = String(decoding: pattern[index..<index + length], as: UTF8.self)
        throw .unknownToken(text, offset: index)
      }
      if !literal.isEmpty { tokens.append(.literal(literal)) }
      literal = []
      tokens.append(token)
      index += length
    }
    if !literal.isEmpty { tokens.append(.literal(literal)) }
    try check(tokens)
    return tokens
  }

  private static func token(letter: UInt8, length: Int) -> Token? {
    switch (letter, length) {
    case (UInt8(ascii: "y"), 4): .year
    case (UInt8(ascii: "y"), 2): .shortYear
    case (UInt8(ascii: "M"), 2): .month
    case (UInt8(ascii: "M"), 1): .looseMonth
    case (UInt8(ascii: "d"), 2): .day
    case (UInt8(ascii: "d"), 1): .looseDay
    case (UInt8(ascii: "H"), 2): .hour
    case (UInt8(ascii: "H"), 1): .looseHour
    case (UInt8(ascii: "m"), 2): .minute
    case (UInt8(ascii: "s"), 2): .second
    case (UInt8(ascii: "S"), 1...9): .fraction(digits: length)
    case (UInt8(ascii: "Z"), 1), (UInt8(ascii: "X"), 3): .offset
    default: nil
    }
  }

  /// The literal that the quote at `index` begins; `index` moves behind it.
  private static func quoted(in pattern: [UInt8], at index: inout Int) throws(TimeFormatError) -> [UInt8] {
    let quote = UInt8(ascii: "'")
    let start = index
    index += 1
    if index < pattern.count, pattern[index] == quote {
      index += 1
      return [quote]
    }
    var literal: [UInt8] = []
    while index < pattern.count {
      if pattern[index] == quote {
        guard index + 1 < pattern.count, pattern[index + 1] == quote else {
          index += 1
          return literal
        }
        index += 1
      }
      literal.append(pattern[index])
      index += 1
    }
    throw .unclosedQuote(offset: start)
  }

  private static func check(_ tokens: [Token]) throws(TimeFormatError) {
    var parts: Set<Part> = []
    for part in tokens.compactMap(\.part) where !parts.insert(part).inserted {
      throw .repeatedToken(part.rawValue)
    }
    guard parts.contains(.year) else { throw .missingToken(Part.year.rawValue) }
    // A part needs the larger ones: without them it would silently mean January, or midnight.
    let order: [Part] = [.year, .month, .day, .hour, .minute, .second, .fraction]
    guard let smallest = order.lastIndex(where: parts.contains) else { return }
    for part in order[...smallest] where !parts.contains(part) { throw .missingToken(part.rawValue) }
  }

  // MARK: - Times

  /// The time that `bytes` stand for, in microseconds since 1970-01-01 UTC; smaller fractions are cut off.
  ///
  /// - Throws: the text is not of this format, not a real date and time, or outside the years 1 to 9999.
  @inline(__always)
  package func microseconds(_ bytes: UnsafeRawBufferPointer) throws(TimeFormatError) -> Int64 {
    var scanner = TimeScanner(bytes: bytes)
    switch kind {
    case .iso8601: return try scanner.takeISO8601()
    case .unix: return try scanner.takeCount(scale: 1_000_000)
    case .unixMilliseconds: return try scanner.takeCount(scale: 1_000)
    case .pattern(let tokens):
      for token in tokens { try Self.take(token, from: &scanner) }
      return try scanner.finish()
    }
  }

  /// As ``microseconds(_:)``, for a String.
  package func microseconds(_ text: String) throws(TimeFormatError) -> Int64 {
    try Array(text.utf8).withUnsafeBufferPointer { (bytes) throws(TimeFormatError) in
      try microseconds(UnsafeRawBufferPointer(bytes))
    }
  }

  /// The time that `bytes` stand for, as a Date: exact to the microsecond from 1866 to 2136.
  package func date(_ bytes: UnsafeRawBufferPointer) throws(TimeFormatError) -> Date {
    Timestamp.date(microseconds: try microseconds(bytes))
  }

  private static func take(_ token: Token, from scanner: inout TimeScanner) throws(TimeFormatError) {
    switch token {
    case .year: scanner.year = try scanner.takeNumber(4...4, "a year of 4 digits")
    case .shortYear:
      let year = try scanner.takeNumber(2...2, "a year of 2 digits")
      scanner.year = year + (year < 70 ? 2000 : 1900)
    case .month: scanner.month = try scanner.takeNumber(2...2, "a month of 2 digits")
    case .looseMonth: scanner.month = try scanner.takeNumber(1...2, "a month of 1 or 2 digits")
    case .day: scanner.day = try scanner.takeNumber(2...2, "a day of 2 digits")
    case .looseDay: scanner.day = try scanner.takeNumber(1...2, "a day of 1 or 2 digits")
    case .hour: scanner.hour = try scanner.takeNumber(2...2, "an hour of 2 digits")
    case .looseHour: scanner.hour = try scanner.takeNumber(1...2, "an hour of 1 or 2 digits")
    case .minute: scanner.minute = try scanner.takeNumber(2...2, "a minute of 2 digits")
    case .second: scanner.second = try scanner.takeNumber(2...2, "a second of 2 digits")
    case .fraction(let digits): try scanner.takeFraction(digits...digits)
    case .offset: try scanner.takeOffset()
    case .literal(let bytes): try scanner.takeLiteral(bytes)
    }
  }
}

/// What is wrong with a pattern, or with a text that should be a time. The text itself is never given.
package enum TimeFormatError: Error, Hashable, Sendable {
  case emptyPattern
  case unknownToken(String, offset: Int)
  case unclosedQuote(offset: Int)
  case repeatedToken(String)
  case missingToken(String)
  /// Offsets are in bytes from the start of the text, from 0.
  case mismatch(offset: Int, expected: String)
  case noSuchDate
  case noSuchTime
  case outOfRange
}

extension TimeFormatError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .emptyPattern: "the time format is empty; use iso8601, unix, unixms or a pattern as yyyy-MM-dd"
    case .unknownToken(let token, let offset):
      "the time format has \"\(token)\" at byte \(offset), which is no token; use yyyy yy MM M dd d HH H mm "
        + "ss S… Z XXX, and put text in single quotes, as 'T'"
    case .unclosedQuote(let offset):
      "the time format's quote at byte \(offset) is never closed; close it, or write '' for a quote as text"
    case .repeatedToken(let token): "the time format has \(token) twice; remove one"
    case .missingToken(let token):
      "the time format lacks \(token), without which the rest has no meaning; add it"
    case .mismatch(let offset, let expected):
      "the time does not have the expected format: at byte \(offset), expected \(expected); check the value "
        + "or the time format"
    case .noSuchDate:
      "the time has a date that does not exist; check the value, and the order of day and month"
    case .noSuchTime: "the time has an hour, minute, second or offset that does not exist; check the value"
    case .outOfRange:
      "the time is outside the years 1 to 9999; check the value, and seconds against milliseconds"
    }
  }
}
