import Foundation
import TestSupport
import Testing

@testable import EventStoreCommands

@Suite("Timestamp")
struct TimestampTests {
  @Test("the calendar agrees with Foundation's, every day from 1583 to 2600")
  func calendar() throws {
    var calendar = Calendar(identifier: .gregorian)
    calendar.timeZone = try #require(TimeZone(secondsFromGMT: 0))
    var previous = CivilTime.date(days: -141_429)
    for days in stride(from: -141_428, to: 230_000, by: 1) {
      let date = CivilTime.date(days: days)
      #expect(CivilTime.days(year: date.year, month: date.month, day: date.day) == days)
      let isNext =
        date.day == 1
        ? previous.day == CivilTime.daysIn(month: previous.month, year: previous.year)
        : date.day == previous.day + 1 && date.month == previous.month && date.year == previous.year
      #expect(isNext)
      previous = date
      guard days % 997 == 0 else { continue }
      let parts = calendar.dateComponents(
        [.year, .month, .day], from: Date(timeIntervalSince1970: Double(days) * 86_400))
      #expect(parts.year == date.year && parts.month == date.month && parts.day == date.day)
    }
  }

  @Test(
    "the fraction has no more digits than it needs",
    arguments: [
      (0, "1970-01-01T00:00:00Z"), (1, "1970-01-01T00:00:00.000001Z"), (1_000, "1970-01-01T00:00:00.001Z"),
      (-1, "1969-12-31T23:59:59.999999Z"), (1_795_232_893_123_456, "2026-11-21T03:48:13.123456Z"),
      (253_402_300_800_000_000, "+010000-01-01T00:00:00Z"),
      (-62_198_755_200_000_000, "-000001-01-01T00:00:00Z"),
    ] as [(Int64, String)])
  func writes(microseconds: Int64, expected: String) {
    #expect(Timestamp.text(microseconds: microseconds) == expected)
  }

  @Test("a Date keeps its microseconds on the way there and back")
  func dates() {
    var random = SeededNumbers(seed: 1)
    for _ in 0..<10_000 {
      let microseconds = Int64.random(in: -3_000_000_000_000_000...5_000_000_000_000_000, using: &random)
      #expect(Timestamp.microseconds(Timestamp.date(microseconds: microseconds)) == microseconds)
    }
    #expect(Timestamp.microseconds(.distantPast) < 0)
    #expect(Timestamp.microseconds(Date(timeIntervalSinceReferenceDate: .infinity)) == .max)
    _ = Timestamp.text(microseconds: .min)
    _ = Timestamp.text(microseconds: .max)
  }

  @Test("an argument is a time or a day")
  func arguments() throws {
    func text(_ argument: String, _ edge: Timestamp.DayEdge) throws -> String {
      Timestamp.text(microseconds: try Timestamp.microseconds(argument: argument, dateMeans: edge))
    }
    #expect(try text("2026-11-21", .startOfDay) == "2026-11-21T00:00:00Z")
    #expect(try text("2026-11-21", .endOfDay) == "2026-11-21T23:59:59.999999Z")
    #expect(try text("2026-11-21T03:48:13+01:00", .endOfDay) == "2026-11-21T02:48:13Z")
    let error = #expect(throws: TimestampArgumentError.self) { try text("2026-11-31", .startOfDay) }
    #expect(
      error?.description
        == "\"2026-11-31\" is not a time: there is no such date; "
        + "write it as 2026-11-21, or 2026-11-21T03:48:13Z"
    )
    #expect(throws: TimestampArgumentError.self) { try text("yesterday", .startOfDay) }
  }
}
