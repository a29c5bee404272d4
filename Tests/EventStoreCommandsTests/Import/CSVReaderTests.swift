import TestSupport
import Testing

@testable import EventStoreCommands

@Suite("CSV reader")
struct CSVReaderTests {
  private struct Row: Equatable {
    var line: Int
    var fields: [String]
    var raw: String
  }

  private func rows(
    _ bytes: [UInt8], delimiter: UInt8 = UInt8(ascii: ","), limit: Int = 1 << 20, seed: UInt64 = 1
  ) throws -> (columns: [String], rows: [Row]) {
    var reader = try CSVReader(input: .pieces(of: bytes, seed: seed), delimiter: delimiter, limit: limit)
    var rows: [Row] = []
    while try reader.advance() {
      let fields = (0..<reader.columns.count).map { String(decoding: reader.field($0), as: UTF8.self) }
      rows.append(
        Row(line: reader.lineNumber, fields: fields, raw: String(decoding: reader.rawRow, as: UTF8.self)))
      #expect(bytes[reader.byteOffset...].starts(with: reader.rawRow))
    }
    #expect(reader.bytesConsumed == bytes.count)
    #expect(try !reader.advance())
    return (reader.columns, rows)
  }

  private func fields(_ text: String, seed: UInt64 = 1) throws -> [[String]] {
    try rows(Array(text.utf8), seed: seed).rows.map(\.fields)
  }

  @Test(
    "RFC 4180 and its everyday cousins",
    arguments: [
      ("a,b\n1,2\n", [["1", "2"]]), ("a,b\r\n1,2\r\n", [["1", "2"]]), ("a,b\n1,2", [["1", "2"]]),
      ("a,b\n1,2\r", [["1", "2"]]), ("a,b", []), ("a,b\n,\n", [["", ""]]), ("a,b\n\"\",\"\"\n", [["", ""]]),
      ("a,b\n\"x,y\",\"p\nq\"\n", [["x,y", "p\nq"]]), ("a,b\n\"x\"\"y\",\"\"\"\"\n", [["x\"y", "\""]]),
      ("a,b\n\"x\r\ny\",z\r\n1,2", [["x\r\ny", "z"], ["1", "2"]]), ("\u{FEFF}a,b\n1,2\n", [["1", "2"]]),
      ("\n\na,b\n\n\r\n1,2\n\n3,4\n\n", [["1", "2"], ["3", "4"]]), ("a,b\n x , y\n", [[" x ", " y"]]),
      ("a,b\n1,\"2\"", [["1", "2"]]), ("a,b\n1,\"2\"\r", [["1", "2"]]), ("a,b\n1,\"2\"\r\n", [["1", "2"]]),
      ("a\n\"\"\n1\n", [[""], ["1"]]), ("a,b\n1\r2,3\n", [["1\r2", "3"]]), ("a,b\né,漢\n", [["é", "漢"]]),
    ] as [(String, [[String]])])
  func accepts(text: String, expected: [[String]]) throws {
    for seed in 0..<20 as Range<UInt64> { #expect(try fields(text, seed: seed) == expected) }
  }

  @Test("columns are named by the header, line numbers are those of an editor")
  func linesAndRaw() throws {
    let text = "\u{FEFF}\"a \"\"x\"\"\",b\r\n1,\"two\nlines\"\r\n\n\"q\"\"q\",4\n"
    let (columns, rows) = try rows(Array(text.utf8))
    #expect(columns == ["a \"x\"", "b"])
    #expect(
      rows == [
        Row(line: 2, fields: ["1", "two\nlines"], raw: "1,\"two\nlines\""),
        Row(line: 5, fields: ["q\"q", "4"], raw: "\"q\"\"q\",4"),
      ])
  }

  @Test("another delimiter", arguments: [";", "\t", "|"] as [Character])
  func delimiter(character: Character) throws {
    let delimiter = try #require(character.asciiValue)
    let text = "a\(character)b\n1,5\(character)\"x\(character)y\"\n"
    let (columns, rows) = try rows(Array(text.utf8), delimiter: delimiter)
    #expect(columns == ["a", "b"])
    #expect(rows.map(\.fields) == [["1,5", "x\(character)y"]])
  }

  @Test(
    "errors say which line and what was found",
    arguments: [
      ("", .noHeader, 1), ("\n\n", .noHeader, 1), ("a,,b\n", .emptyColumnName(column: 2), 1),
      ("a,b,a\n", .duplicateColumnName("a", first: 1, second: 3), 1),
      ("a,b\n1,2\n1\n", .wrongFieldCount(found: 1, expected: 2), 3),
      ("a,b\n\n1,2,3,4", .wrongFieldCount(found: 4, expected: 2), 3),
      ("a,b\n1,2\n3,\"x\ny\n", .unterminatedQuote(column: 2), 3),
      ("a,b\n1,x\"y\n", .strayQuote(column: 2), 2), ("a,b\n\"1\"x,y\n", .strayQuote(column: 1), 2),
      ("a,b\n\"1\" ,y\n", .strayQuote(column: 1), 2), ("a,b\n\"1\"\rx,y\n", .strayQuote(column: 1), 2),
      ("a,b,c\n1,5\" disk,\"x\n2,not a row\ny\"\n", .endlessRow(column: 2), 2),
      ("a,\"b", .unterminatedQuote(column: 2), 1), ("a,b\n1,\"", .unterminatedQuote(column: 2), 2),
    ] as [(String, CSVProblem, Int)])
  func refuses(text: String, problem: CSVProblem, line: Int) {
    for seed in 0..<20 as Range<UInt64> {
      #expect(throws: InputError.csv(problem, line: line)) { try fields(text, seed: seed) }
    }
  }

  @Test("invalid UTF-8 is found in its column")
  func invalidUTF8() {
    let bytes = Array("a,b,c\n1,\"x,\"\"é\",".utf8) + [0xE9] + Array("\n".utf8)
    #expect(throws: InputError.csv(.invalidUTF8(column: 3), line: 2)) { try rows(bytes) }
    #expect(throws: InputError.csv(.invalidUTF8(column: 1), line: 1)) {
      try rows([0xE9] + Array(",b\n".utf8))
    }
  }

  @Test("after a bad row the next one can be read", arguments: 0..<20 as Range<UInt64>)
  func goesOn(seed: UInt64) throws {
    let good = Array("1,2\n".utf8)
    let long = String(repeating: "x", count: 200)
    var bytes = Array("a,b\n".utf8) + good + Array("1\n".utf8) + good + Array("1,x\"\(long),y\"\n".utf8) + good
    bytes += [0xFF] + Array(",\n".utf8) + good + Array("\"1\n\n\"x,\n".utf8) + good
    var reader = try CSVReader(input: .pieces(of: bytes, seed: seed))
    var outcomes: [String] = []
    reading: while true {
      do throws(InputError) {
        guard try reader.advance() else { break reading }
        outcomes.append("row \(reader.lineNumber)")
      } catch .csv(_, let line) {
        outcomes.append("bad \(line)")
      } catch {
        outcomes.append("\(error)")
        break reading
      }
    }
    #expect(
      outcomes == ["row 2", "bad 3", "row 4", "bad 5", "row 6", "bad 7", "row 8", "bad 9", "row 12"])
  }

  @Test("a row over the limit ends the reading")
  func limit() throws {
    let row = String(repeating: "x", count: 20)
    #expect(try rows(Array("a\n\(row)\n".utf8), limit: 20).rows.count == 1)
    for text in ["a\n\(row)x\n", "a\n\"\(row)xx", "a\n\"" + String(repeating: "x\n", count: 9_000)] {
      #expect(throws: InputError.tooLong(line: 2, limit: 20)) { try rows(Array(text.utf8), limit: 20) }
    }
  }

  @Test("what is written is read back, at any border", arguments: 0..<60 as Range<UInt64>)
  func roundTrip(seed: UInt64) throws {
    var random = SeededNumbers(seed: seed)
    let letters: [Character] = ["a", "B", "1", " ", ",", "\"", "\n", "\r", ";", "é", "😀", "'", "\\"]
    let columns = Int.random(in: 2...7, using: &random)
    let lineEnd = Bool.random(using: &random) ? "\n" : "\r\n"
    var expected: [[String]] = []
    var text = (0..<columns).map { "c\($0)" }.joined(separator: ",") + lineEnd
    for _ in 0..<150 {
      let row = (0..<columns).map { _ in
        let length = Int.random(in: 0...9, using: &random) == 0 ? 120 : Int.random(in: 0...8, using: &random)
        return String((0..<length).map { _ in letters.randomElement(using: &random) ?? "a" })
      }
      expected.append(row)
      let quoted = row.map { field in
        // By bytes: to String, \r\n is one letter of its own.
        let needsQuotes = field.utf8.contains { ",\"\r\n".utf8.contains($0) } || Bool.random(using: &random)
        guard needsQuotes else { return field }
        return "\"" + String(field.map { $0 == "\"" ? "\"\"" : String($0) }.joined()) + "\""
      }
      text += quoted.joined(separator: ",") + lineEnd
    }
    let read = try fields(text, seed: seed)
    #expect(read.map { $0.map { Array($0.utf8) } } == expected.map { $0.map { Array($0.utf8) } })
  }
}
