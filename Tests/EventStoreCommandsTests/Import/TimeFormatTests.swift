import Foundation
import TestSupport
import Testing

@testable import EventStoreCommands

@Suite("Time format")
struct TimeFormatTests {
  @Test(
    "a text of the format is its time",
    arguments: [
      ("yyMMdd", "930228", "1993-02-28T00:00:00Z"), ("yyMMdd", "700101", "1970-01-01T00:00:00Z"),
      ("yyMMdd", "691231", "2069-12-31T00:00:00Z"), ("yyyy-MM-dd", "2024-02-29", "2024-02-29T00:00:00Z"),
      ("yyyy-MM-dd HH:mm:ss", "2026-11-21 03:48:13", "2026-11-21T03:48:13Z"),
      ("dd.MM.yyyy HH:mm", "21.11.2026 03:48", "2026-11-21T03:48:00Z"),
      ("d.M.yyyy H:mm", "1.2.2026 3:04", "2026-02-01T03:04:00Z"),
      ("yyyy-MM-dd'T'HH:mm:ss.SSSZ", "2026-11-21T03:48:13.120Z", "2026-11-21T03:48:13.120Z"),
      (
        "yyyy-MM-dd'T'HH:mm:ss.SSSSSSSSSXXX", "2026-11-21T03:48:13.123456789+02:00",
        "2026-11-21T01:48:13.123456Z"
      ),
      ("dd 'o''clock' HH 'of' yyyy''MM", "02 o'clock 13 of 2026'01", "2026-01-02T13:00:00Z"),
      ("yyyy", "2026", "2026-01-01T00:00:00Z"), ("MM/dd/yyyy", "12/31/1999", "1999-12-31T00:00:00Z"),
      ("iso8601", "2026-11-21", "2026-11-21T00:00:00Z"),
      ("iso8601", "2026-11-21T03:48", "2026-11-21T03:48:00Z"),
      ("iso8601", "2026-11-21 03:48:13", "2026-11-21T03:48:13Z"),
      ("iso8601", "2026-11-21T03:48:13.1234567Z", "2026-11-21T03:48:13.123456Z"),
      ("iso8601", "2026-11-21T03:48:13,5-0530", "2026-11-21T09:18:13.500Z"),
      ("iso8601", "2026-01-01T00:30+01", "2025-12-31T23:30:00Z"),
      ("iso8601", "0001-01-01", "0001-01-01T00:00:00Z"),
      ("iso8601", "1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
      ("unix", "0", "1970-01-01T00:00:00Z"), ("unix", "1700000000.25", "2023-11-14T22:13:20.250Z"),
      ("unix", "-1.5", "1969-12-31T23:59:58.500Z"), ("unixms", "1700000000123", "2023-11-14T22:13:20.123Z"),
      ("unixms", "1700000000123.4567", "2023-11-14T22:13:20.123456Z"),
      ("unixms", "-1", "1969-12-31T23:59:59.999Z"),
    ])
  func accepts(pattern: String, text: String, expected: String) throws {
    let format = try TimeFormat(pattern)
    #expect(Timestamp.text(microseconds: try format.microseconds(text)) == expected)
    let date = try Array(text.utf8).withUnsafeBytes { try format.date($0) }
    if !expected.hasPrefix("0001") { #expect(Timestamp.text(date) == expected) }
  }

  @Test(
    "a text that is no such time is refused",
    arguments: [
      ("yyMMdd", "930230", .noSuchDate), ("yyMMdd", "931301", .noSuchDate), ("yyMMdd", "930001", .noSuchDate),
      ("yyMMdd", "93022", .mismatch(offset: 5, expected: "a day of 2 digits")),
      ("yyMMdd", "9302281", .mismatch(offset: 6, expected: "the end of the time")),
      ("yyyy-MM-dd", "2023-02-29", .noSuchDate), ("yyyy-MM-dd", "1900-02-29", .noSuchDate),
      ("yyyy-MM-dd", "2023/02/28", .mismatch(offset: 4, expected: "\"-\"")),
      ("yyyy-MM-dd", "0000-01-01", .noSuchDate), ("iso8601", "2026-11-21T24:00Z", .noSuchTime),
      ("iso8601", "2026-11-21T23:59:60Z", .noSuchTime), ("iso8601", "2026-11-21T23:59:00+19:00", .noSuchTime),
      (
        "iso8601", "2026-11-21T23:59:00.Z",
        .mismatch(offset: 20, expected: "a digit of the second's fraction")
      ),
      ("iso8601", "2026-11-21Z", .mismatch(offset: 10, expected: "T or a space")),
      ("iso8601", "2026-11-21T23:59x", .mismatch(offset: 16, expected: "an offset: Z, +02:00, +0200 or +02")),
      ("iso8601", "0001-01-01T00:00+01:00", .outOfRange), ("unix", "999999999999", .outOfRange),
      ("unix", "99999999999999999999", .outOfRange),
      ("unixms", "", .mismatch(offset: 0, expected: "a number")),
      ("unix", "1e9", .mismatch(offset: 1, expected: "the end of the number")),
      ("unix", "-", .mismatch(offset: 1, expected: "a number")),
    ] as [(String, String, TimeFormatError)])
  func refuses(pattern: String, text: String, error: TimeFormatError) throws {
    let format = try TimeFormat(pattern)
    #expect(throws: error) { try format.microseconds(text) }
  }

  @Test(
    "malformed patterns",
    arguments: [
      ("", .emptyPattern), ("yyyy-MM-ddTHH:mm", .unknownToken("T", offset: 10)),
      ("yyy", .unknownToken("yyy", offset: 0)),
      ("yyyy-MM-dd hh:mm", .unknownToken("hh", offset: 11)), ("yyyy 'x", .unclosedQuote(offset: 5)),
      ("yyyyMMddM", .repeatedToken("MM")), ("MM-dd", .missingToken("yyyy or yy")),
      ("yyyy-dd", .missingToken("MM")),
      ("yyyy-MM-dd mm", .missingToken("HH")), ("HH:mm", .missingToken("yyyy or yy")),
    ] as [(String, TimeFormatError)])
  func malformed(pattern: String, error: TimeFormatError) {
    #expect(throws: error) { try TimeFormat(pattern) }
  }

  @Test("never crashes on random bytes", arguments: ["iso8601", "unix", "unixms", "d.M.yy H:mm:ss.SSSXXX"])
  func fuzz(pattern: String) throws {
    let format = try TimeFormat(pattern)
    var random = SeededNumbers(seed: 3)
    let alphabet = Array("0123456789-:.TZ+ ".utf8)
    for _ in 0..<20_000 {
      let bytes = (0..<Int.random(in: 0...30, using: &random)).map { _ in
        alphabet.randomElement(using: &random) ?? 0
      }
      _ = try? bytes.withUnsafeBytes { try format.microseconds($0) }
    }
  }
}
