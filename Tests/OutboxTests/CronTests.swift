import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import TestSupport
import Testing

@Suite("Cron expressions", .database, .timeLimit(.minutes(15)))
struct CronTests {
  @Test(
    "what is wrong is said, and where",
    arguments: [
      ("", "found 0"), ("* * * *", "found 4"), ("* * * * * *", "found 6"),
      ("60 * * * *", "minute \"60\": expected 0 to 59"),
      ("* 24 * * *", "hour"), ("* * 0 * *", "day of the month"),
      ("* * * 13 *", "month \"13\": expected 1 to 12, or jan to dec"),
      ("* * * * 8", "day of the week"), ("5-1 * * * *", "ends before it begins"),
      ("*/0 * * * *", "a step is a number from 1"),
      ("5/15 * * * *", "needs * or a range"), ("1,,2 * * * *", "minute"), ("+5 * * * *", "minute"),
      ("* L * * *", "hour"),
      ("@reboot", "found 1"), ("* * * foo *", "month \"foo\""), ("1-2-3 * * * *", "minute"),
    ])
  func refused(_ text: String, _ problem: String) {
    let error = #expect(throws: InvalidCronExpression.self) { try CronExpression(text) }
    #expect(error?.description.contains(problem) == true, "\(String(describing: error))")
  }

  private struct Example: Sendable, CustomTestStringConvertible {
    let expression: String
    var zone = "UTC"
    let after: String
    let times: [String]
    var testDescription: String { "\(expression) \(zone)" }
  }

  @Test(
    "times, in zones whose clocks change, too",
    arguments: [
      // 02:30 does not exist on 29 March: as much later. It comes twice on 25 October: once.
      Example(
        expression: "30 2 * * *", zone: "Europe/Prague", after: "2026-03-27T12:00:00Z",
        times: ["2026-03-28T01:30:00Z", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]),
      Example(
        expression: "30 2 * * *", zone: "Europe/Prague", after: "2026-10-24T12:00:00Z",
        times: ["2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"]),
      // Every hour is every hour.
      Example(
        expression: "0 * * * *", zone: "Europe/Prague", after: "2026-10-24T23:30:00Z",
        times: ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z"]),
      Example(
        expression: "0 * * * *", zone: "Europe/Prague", after: "2026-03-29T00:30:00Z",
        times: ["2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"]),
      // Half an hour of summer time.
      Example(
        expression: "*/30 * * * *", zone: "Australia/Lord_Howe", after: "2026-04-04T14:00:00Z",
        times: ["2026-04-04T14:30:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z", "2026-04-04T16:00:00Z"]),
      // A day that was left out.
      Example(
        expression: "0 12 30,31 12 *", zone: "Pacific/Apia", after: "2011-12-30T00:00:00Z",
        times: ["2011-12-30T22:00:00Z", "2012-12-29T22:00:00Z"]),
      // Every second hour is by the clock; a fold of two hours.
      Example(
        expression: "30 */2 * * *", zone: "Europe/Prague", after: "2026-03-28T23:45:00Z",
        times: ["2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"]),
      Example(
        expression: "30 */2 * * *", zone: "Europe/Prague", after: "2026-10-24T22:45:00Z",
        times: ["2026-10-25T01:30:00Z", "2026-10-25T03:30:00Z"]),
      Example(
        expression: "0 * * * *", zone: "Antarctica/Troll", after: "2026-10-24T23:30:00Z",
        times: [
          "2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z", "2026-10-25T03:00:00Z",
          "2026-10-25T04:00:00Z",
        ]),
      Example(
        expression: "* * * * *", zone: "Europe/Prague", after: "2026-03-29T00:59:00Z",
        times: ["2026-03-29T01:00:00Z", "2026-03-29T01:01:00Z"]),
      // The last day; a Sunday by its other number; the 13th or a Friday.
      Example(
        expression: "0 18 L 2 *", after: "2027-01-01T00:00:00Z",
        times: ["2027-02-28T18:00:00Z", "2028-02-29T18:00:00Z"]),
      Example(expression: "0 0 * * 7", after: "2026-11-21T00:00:00Z", times: ["2026-11-22T00:00:00Z"]),
      Example(
        expression: "0 0 13 * fri", after: "2026-12-01T00:00:00Z",
        times: ["2026-12-04T00:00:00Z", "2026-12-11T00:00:00Z", "2026-12-13T00:00:00Z", "2026-12-18T00:00:00Z"]),
      // No leap day in 2100; never.
      Example(expression: "0 0 29 2 *", after: "2096-03-01T00:00:00Z", times: ["2104-02-29T00:00:00Z"]),
      Example(expression: "0 0 30 2 *", after: "2026-01-01T00:00:00Z", times: []),
    ])
  private func times(_ example: Example) async throws {
    try await TestDatabase.required.withLog { log in
      let after = try Date(example.after, strategy: .iso8601)
      let recurrence = Timing.Recurrence(try CronExpression(example.expression), timeZone: example.zone)
      let found = try await Schedules(log).preview(recurrence, after: after, count: max(1, example.times.count))
      #expect(found.map { $0.formatted(.iso8601) } == example.times)
    }
  }

  @Test("a time zone that the server does not know")
  func unknownZone() async throws {
    try await TestDatabase.required.withLog { log in
      let recurrence = Timing.Recurrence(try CronExpression("@daily"), timeZone: "Mars/Olympus")
      await #expect(throws: OutboxError.self) { try await Schedules(log).preview(recurrence, count: 1) }
    }
  }

  @Test("random expressions name just the minutes that their fields name", arguments: [1, 2, 3, 4])
  func random(_ seed: UInt64) async throws {
    var numbers = SeededNumbers(seed: seed)
    try await TestDatabase.required.withLog { log in
      for _ in 0..<25 {
        let fields = [0...59, 0...23, 1...31, 1...12, 0...6].map { RandomField($0, using: &numbers) }
        let text = fields.map(\.text).joined(separator: " ")
        // A day in 2024 to 2027.
        let start = 19_723 * 1_440 + Int.random(in: 0..<1_440 * 1_400, using: &numbers)
        let date = Date(timeIntervalSince1970: Double(start) * 60)
        let recurrence = Timing.Recurrence(try CronExpression(text))
        let found = try await Schedules(log).preview(recurrence, after: date, count: 3)
        var expected: [Date] = []
        var minute = start + 1
        while expected.count < 3, minute < start + 1_440 * 366 * 3 {
          let days = minute / 1_440
          let civil = civilDate(days)
          let isDay = fields[2].numbers.contains(civil.day)
          let isWeekday = fields[4].numbers.contains((days + 4) % 7)
          let fits =
            fields[3].numbers.contains(civil.month)
            && (fields[2].isAny || fields[4].isAny ? isDay && isWeekday : isDay || isWeekday)
          if !fits {
            minute = (days + 1) * 1_440
            continue
          }
          if fields[1].numbers.contains(minute % 1_440 / 60), fields[0].numbers.contains(minute % 60) {
            expected.append(Date(timeIntervalSince1970: Double(minute) * 60))
          }
          minute += 1
        }
        #expect(Array(found.prefix(expected.count)) == expected, "\(text) after \(date.formatted(.iso8601))")
        #expect(expected.count == 3 || found.count >= expected.count, "\(text)")
      }
    }
  }

  /// A field of an expression, and what it means, made apart from each other's code.
  private struct RandomField {
    let text: String
    let numbers: Set<Int>
    var isAny: Bool { text.hasPrefix("*") }

    init(_ range: ClosedRange<Int>, using generator: inout SeededNumbers) {
      switch Int.random(in: 0..<5, using: &generator) {
      case 0: (text, numbers) = ("*", Set(range))
      case 1:
        let step = Int.random(in: 1...range.upperBound, using: &generator)
        (text, numbers) = ("*/\(step)", Set(range.filter { ($0 - range.lowerBound) % step == 0 }))
      case 2:
        let ends = [Int.random(in: range, using: &generator), Int.random(in: range, using: &generator)].sorted()
        (text, numbers) = ("\(ends[0])-\(ends[1])", Set(ends[0]...ends[1]))
      case 3:
        let some = (0..<3).map { _ in Int.random(in: range, using: &generator) }
        (text, numbers) = (some.map { "\($0)" }.joined(separator: ","), Set(some))
      default:
        let one = Int.random(in: range, using: &generator)
        (text, numbers) = ("\(one)", [one])
      }
    }
  }

  /// Month and day of a day since 1970, by counting.
  private func civilDate(_ days: Int) -> (month: Int, day: Int) {
    var (year, rest) = (1970, days)
    func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }
    while rest >= (isLeap(year) ? 366 : 365) {
      rest -= isLeap(year) ? 366 : 365
      year += 1
    }
    for (index, length) in [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].enumerated() {
      if rest < length { return (index + 1, rest + 1) }
      rest -= length
    }
    return (0, 0)
  }
}
