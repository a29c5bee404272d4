internal import FoundationEssentials

/// When something is to happen again and again: five fields as in crontab(5), `minute hour day-of-month month day-of-week`.
///
/// A field is `*`, a number, a range `1-5`, a step `*/15` or `8-18/2`, or several of these with commas. Months and days of the
/// week may be named by three letters; 0 and 7 are Sunday. Where both days are restricted, one of them is enough. `L` as a day of
/// the month is its last one. Instead of fields: `@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly`, `@yearly` (`@annually`).
///
/// ```swift
/// let monthEnd = try CronExpression("0 18 L * *")
/// ```
public struct CronExpression: Sendable, Hashable, CustomStringConvertible {
  /// As it was written.
  public let description: String
  let fields: Fields

  /// As the server wants them: see schema/functions/next_occurrence.sql.
  struct Fields: Sendable, Hashable, Codable {
    var minutes: [Int]
    var hours: [Int]
    var days: [Int]
    var months: [Int]
    /// From 0, Sunday, to 6.
    var weekdays: [Int]
    var lastDay: Bool
    /// Days and weekdays are both restricted: one of them is enough.
    var eitherDay: Bool
    /// Every hour: where the clocks change, time itself counts and not what they say.
    var followsTime: Bool
  }

  private static let shorthands = [
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
  ]

  /// - Throws: ``InvalidCronExpression``, which says which field is wrong, and why.
  public init(_ text: String) throws(InvalidCronExpression) {
    description = text
    let fields = (Self.shorthands[text.lowercased()] ?? text).split(whereSeparator: \.isWhitespace)
    guard fields.count == 5 else {
      throw InvalidCronExpression(
        text: text,
        problem: "expected 5 fields (minute, hour, day of the month, month, day of the week), found \(fields.count)")
    }
    func values(_ index: Int, _ kind: CronField) throws(InvalidCronExpression) -> CronField.Values {
      do { return try kind.values(of: fields[index]) } catch {
        throw InvalidCronExpression(text: text, problem: "\(kind.name) \"\(fields[index])\": \(error.problem)")
      }
    }
    let hours = try values(1, .hour)
    let (days, weekdays) = (try values(2, .day), try values(4, .weekday))
    self.fields = Fields(
      minutes: try values(0, .minute).numbers, hours: hours.numbers, days: days.numbers,
      months: try values(3, .month).numbers, weekdays: Set(weekdays.numbers.map { $0 % 7 }).sorted(),
      lastDay: days.hasLast,
      eitherDay: !days.isAny && !weekdays.isAny, followsTime: hours.numbers.count == 24)
  }
}

/// It is no cron expression.
public struct InvalidCronExpression: Error, Sendable, Hashable, CustomStringConvertible {
  /// As it was given.
  public let text: String
  /// What is wrong, and in which field.
  public let problem: String

  public var description: String { "cron expression \(text.debugDescription): \(problem)" }
}

/// One of the five.
struct CronField {
  let name: String
  let range: ClosedRange<Int>
  /// Of `range`, from its first number on.
  var names: [String] = []

  static let minute = CronField(name: "minute", range: 0...59)
  static let hour = CronField(name: "hour", range: 0...23)
  static let day = CronField(name: "day of the month", range: 1...31)
  static let month = CronField(
    name: "month", range: 1...12,
    names: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])
  /// 7 is Sunday, too.
  static let weekday = CronField(
    name: "day of the week", range: 0...7, names: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"])

  struct Values {
    /// Sorted.
    var numbers: [Int] = []
    /// It begins with `*`.
    var isAny = false
    var hasLast = false
  }

  struct Invalid: Error {
    let problem: String
  }

  func values(of field: Substring) throws(Invalid) -> Values {
    var values = Values(isAny: field.hasPrefix("*"))
    var numbers: Set<Int> = []
    for part in field.split(separator: ",", omittingEmptySubsequences: false) {
      if part.lowercased() == "l", range == Self.day.range {
        values.hasLast = true
        continue
      }
      let pieces = part.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
      var step = 1
      if pieces.count == 2 {
        guard let number = Self.number(pieces[1]), number >= 1 else {
          throw Invalid(problem: "a step is a number from 1 on")
        }
        step = number
      }
      let bounds = try self.bounds(pieces[0], hasStep: pieces.count == 2)
      numbers.formUnion(stride(from: bounds.lowerBound, through: bounds.upperBound, by: step))
    }
    values.numbers = numbers.sorted()
    return values
  }

  private func bounds(_ text: Substring, hasStep: Bool) throws(Invalid) -> ClosedRange<Int> {
    if text == "*" { return range.lowerBound...(range == Self.weekday.range ? 6 : range.upperBound) }
    let ends = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    let first = try value(ends[0])
    if ends.count == 1 {
      guard !hasStep else { throw Invalid(problem: "a step needs * or a range before it, such as */15 or 8-18/2") }
      return first...first
    }
    var last = try value(ends[1])
    if last == 0, range == Self.weekday.range { last = 7 }
    guard first <= last else { throw Invalid(problem: "the range ends before it begins") }
    return first...last
  }

  private func value(_ text: Substring) throws(Invalid) -> Int {
    if let index = names.firstIndex(of: text.lowercased()) { return range.lowerBound + index }
    guard let number = Self.number(text), range.contains(number) else {
      throw Invalid(
        problem: "expected \(range.lowerBound) to \(range.upperBound)"
          + (names.isEmpty ? "" : ", or \(names[0]) to \(names[names.count - 1])"))
    }
    return number
  }

  /// Digits only: no sign.
  private static func number(_ text: Substring) -> Int? {
    text.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) } ? Int(text) : nil
  }
}
