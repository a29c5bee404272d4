package import FoundationEssentials

/// Times as people and files write them: `2026-11-21T03:48:13.123456Z`, always UTC.
package enum Timestamp {
  /// Seconds from 1970-01-01 to 2001-01-01, where a Date begins to count.
  private static let referenceOffset = 978_307_200

  /// The Date that is so many microseconds after 1970: exact to the microsecond from 1866 to 2136.
  package static func date(microseconds: Int64) -> Date {
    // Straight to Date's own origin: by way of 1970 the last digit would be rounded away.
    let seconds = Double(microseconds - Int64(referenceOffset) * 1_000_000) / 1_000_000
    // The last moment of 9999, which means "never" in many files, is not rounded into a year that has no four digits.
    let isBefore10000 = microseconds < 253_402_300_800_000_000
    return Date(timeIntervalSinceReferenceDate: isBefore10000 ? min(seconds, lastOf9999) : seconds)
  }

  private static let lastOf9999 = Double(253_402_300_800 - referenceOffset).nextDown

  /// The date in microseconds since 1970, rounded to the nearest; dates too far away become the first or last
  /// one.
  package static func microseconds(_ date: Date) -> Int64 {
    let shifted = (date.timeIntervalSinceReferenceDate * 1_000_000).rounded()
    guard abs(shifted) < 9e18 else { return shifted < 0 ? .min : .max }
    let (sum, overflow) = Int64(shifted).addingReportingOverflow(Int64(referenceOffset) * 1_000_000)
    return overflow ? .max : sum
  }

  // MARK: - Writing

  /// Appends the time `microseconds` after 1970, with no fraction if it is 0, else with 3 digits or, if
  /// needed, 6.
  package static func append(microseconds: Int64, to output: inout [UInt8]) {
    let perDay = CivilTime.microsecondsPerDay
    var days = Int(microseconds) / perDay
    var rest = Int(microseconds) % perDay
    if rest < 0 {
      rest += perDay
      days -= 1
    }
    let date = CivilTime.date(days: days)
    let seconds = rest / 1_000_000
    let fraction = rest % 1_000_000

    if date.year < 0 || date.year > 9999 {
      // ISO 8601 wants a sign here.
      output.append(UInt8(ascii: date.year < 0 ? "-" : "+"))
      appendPadded(abs(date.year), digits: 6, to: &output)
    } else {
      appendPadded(date.year, digits: 4, to: &output)
    }
    output.append(UInt8(ascii: "-"))
    appendPadded(date.month, digits: 2, to: &output)
    output.append(UInt8(ascii: "-"))
    appendPadded(date.day, digits: 2, to: &output)
    output.append(UInt8(ascii: "T"))
    appendPadded(seconds / 3_600, digits: 2, to: &output)
    output.append(UInt8(ascii: ":"))
    appendPadded(seconds / 60 % 60, digits: 2, to: &output)
    output.append(UInt8(ascii: ":"))
    appendPadded(seconds % 60, digits: 2, to: &output)
    if fraction != 0 {
      output.append(UInt8(ascii: "."))
      let isShort = fraction % 1_000 == 0
      appendPadded(isShort ? fraction / 1_000 : fraction, digits: isShort ? 3 : 6, to: &output)
    }
    output.append(UInt8(ascii: "Z"))
  }

  /// Appends `date`, as ``append(microseconds:to:)``.
  package static func append(_ date: Date, to output: inout [UInt8]) {
    append(microseconds: microseconds(date), to: &output)
  }

  /// The time `microseconds` after 1970 as text.
  package static func text(microseconds: Int64) -> String {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(32)
    append(microseconds: microseconds, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The date as text.
  package static func text(_ date: Date) -> String { text(microseconds: microseconds(date)) }

  @inline(__always)
  private static func appendPadded(_ value: Int, digits: Int, to output: inout [UInt8]) {
    var divisor = 1
    for _ in 1..<digits { divisor *= 10 }
    while divisor > 0 {
      output.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value / divisor % 10))
      divisor /= 10
    }
  }

  // MARK: - Reading

  /// What a date without a time means.
  package enum DayEdge: Hashable, Sendable {
    /// Its first microsecond in UTC.
    case startOfDay
    /// Its last microsecond in UTC.
    case endOfDay
  }

  /// The time, in microseconds since 1970, that someone wrote as an argument: ISO 8601, or a date alone.
  ///
  /// - Throws: ``TimestampArgumentError`` with the argument in it.
  package static func microseconds(
    argument: String, dateMeans edge: DayEdge = .startOfDay
  ) throws(TimestampArgumentError) -> Int64 {
    let start: Int64
    do throws(TimeFormatError) {
      start = try TimeFormat.iso8601.microseconds(argument)
    } catch {
      throw TimestampArgumentError(argument: argument, reason: error)
    }
    let isDateAlone = argument.utf8.count == 10
    return isDateAlone && edge == .endOfDay ? start + Int64(CivilTime.microsecondsPerDay) - 1 : start
  }

  /// As ``microseconds(argument:dateMeans:)``, as a Date.
  package static func date(
    argument: String, dateMeans edge: DayEdge = .startOfDay
  ) throws(TimestampArgumentError) -> Date {
    date(microseconds: try microseconds(argument: argument, dateMeans: edge))
  }
}

/// An argument that is not a time.
package struct TimestampArgumentError: Error, Hashable, Sendable, CustomStringConvertible {
  package let argument: String
  package let reason: TimeFormatError

  package var description: String {
    let why =
      switch reason {
      case .mismatch(let offset, let expected): "at character \(offset + 1), expected \(expected)"
      case .noSuchDate: "there is no such date"
      case .noSuchTime: "there is no such time of day or offset"
      default: "\(reason)"
      }
    return "\"\(argument)\" is not a time: \(why); write it as 2026-11-21, or 2026-11-21T03:48:13Z"
  }
}
