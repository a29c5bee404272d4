import Foundation
import TestSupport
import Testing

@testable import EventStore

@Suite("JSON text")
struct JSONTextTests {
  // MARK: - Validation

  @Test(
    "accepts what RFC 8259 allows",
    arguments: [
      "null", "true", "false", "0", "-0", "10", "-1.5e+10", "1E9", "1000.00", #""""#,
      #""a\"\\\/\b\f\n\r\té\u00e9""#,
      #""\ud83d\ude00 😀""#, "[]", "[ ]", "{}", " {\t\"a\" :\r\n[1 ,2, {}] } ", #"{"a":{"a":{"a":null}}}"#,
      "\"\u{7f}\u{10FFFF}\u{2028}\"",
    ])
  func accepts(text: String) throws {
    try JSONText.validate(Array(text.utf8))
  }

  @Test(
    "refuses everything else, and says where",
    arguments: [
      ("", 0, .value), ("  ", 2, .value), ("nul", 0, .value), ("True", 0, .value), ("nulls", 4, .endOfText),
      ("01", 1, .digit), ("-", 1, .digit), ("1.", 2, .digit), (".5", 0, .value), ("1e", 2, .digit),
      ("+1", 0, .value), ("0x10", 1, .endOfText), ("NaN", 0, .value), ("1 2", 2, .endOfText),
      ("[1,]", 3, .value), ("[1 2]", 3, .commaOrBracket), ("[1", 2, .commaOrBracket),
      ("[1}", 2, .commaOrBracket),
      ("{\"a\":1,}", 7, .key), ("{a:1}", 1, .key), ("{\"a\" 1}", 5, .colon), ("{\"a\":1]", 6, .commaOrBrace),
      ("{\"a\":}", 5, .value), ("\"abc", 4, .closingQuote), ("\"a\nb\"", 2, .escapedControlCharacter),
      (#""\x""#, 2, .escape), (#""\u12g4""#, 5, .hexDigits), (#""\ud800""#, 1, .surrogatePair),
      (#""\ud800\u0041""#, 1, .surrogatePair), (#""\udc00""#, 1, .surrogatePair), ("'a'", 0, .value),
      ("{\"a\":1}x", 7, .endOfText), ("/**/1", 0, .value), ("\u{FEFF}1", 0, .value), ("1\0", 1, .endOfText),
      ("\"a\\", 3, .escape), ("[\0]", 1, .value),
    ] as [(String, Int, JSONTextError.Expectation)])
  func refuses(text: String, offset: Int, expected: JSONTextError.Expectation) {
    #expect(throws: JSONTextError(offset: offset, expected: expected)) {
      try JSONText.validate(Array(text.utf8))
    }
  }

  @Test(
    "demands valid UTF-8",
    arguments: [
      [0x80], [0xC0, 0x80], [0xC1, 0xBF], [0xC3], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80], [0xE2, 0x82],
      [0xF0, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFF],
      [0xF0, 0x9F, 0x98],
    ] as [[UInt8]])
  func invalidUTF8(bytes: [UInt8]) {
    #expect(throws: JSONTextError(offset: 3, expected: .validUTF8)) {
      try JSONText.validate(Array("\"ab".utf8) + bytes + Array("\"".utf8))
    }
    #expect(bytes.withUnsafeBytes { UTF8Check.firstInvalidByte(in: $0) } == 0)
  }

  @Test("a well-formed check agrees with String on random bytes")
  func utf8AgreesWithString() {
    var random = SeededNumbers(seed: 7)
    let interesting: [UInt8] = [
      0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4,
      0xF5,
    ]
    for _ in 0..<200_000 {
      let bytes = (0..<Int.random(in: 0...12, using: &random)).map { _ in
        interesting.randomElement(using: &random) ?? 0
      }
      let isValid = bytes.withUnsafeBytes { UTF8Check.firstInvalidByte(in: $0) } == nil
      #expect(isValid == (String(validating: bytes, as: UTF8.self) != nil), "\(bytes)")
    }
  }

  @Test("nesting has a limit, also far beyond it")
  func depth() throws {
    func nested(_ depth: Int) -> [UInt8] {
      Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
    }
    try JSONText.validate(nested(512))
    let error = JSONTextError(offset: 512, expected: .depth(atMost: 512))
    #expect(throws: error) { try JSONText.validate(nested(513)) }
    #expect(throws: error) { try JSONText.validate(nested(1_000_000)) }
    let mixed = String(repeating: #"{"a":["#, count: 256) + String(repeating: "]}", count: 256)
    try JSONText.validate(Array(mixed.utf8))
    #expect(throws: JSONTextError.self) { try JSONText.validate(Array(#"{"a":["#.utf8) + Array(mixed.utf8)) }
    let member = Array(#"{"a":"#.utf8)
    _ = try JSONText.topLevelMembers(of: member + nested(511) + Array("}".utf8))
    #expect(throws: JSONTextError.self) {
      try JSONText.topLevelMembers(of: member + nested(512) + Array("}".utf8))
    }
  }

  @Test("an error tells nothing of the text")
  func errorsKeepSecrets() {
    #expect(throws: JSONTextError.self) { try JSONText.validate(Array("[secret]".utf8)) }
    let error = JSONTextError(offset: 1, expected: .value)
    #expect(error.description == "invalid JSON at byte 1: expected a JSON value")
  }

  // MARK: - Members

  @Test("members keep the exact text of their values")
  func members() throws {
    let text = #" { "amount" : 1000.00, "a\u0041\n": "x\"}", "o":{"amount":1 } ,"é":[ ], "z": null } "#
    let bytes = Array(text.utf8)
    let members = try JSONText.topLevelMembers(of: bytes)
    #expect(members.map(\.key) == ["amount", "aA\n", "o", "é", "z"])
    #expect(
      members.map { String(decoding: bytes[$0.value], as: UTF8.self) } == [
        "1000.00", #""x\"}""#, #"{"amount":1 }"#, "[ ]", "null",
      ])
    let kinds = bytes.withUnsafeBytes { bytes in
      members.map { JSONText.kind(of: UnsafeRawBufferPointer(rebasing: bytes[$0.value])) }
    }
    #expect(kinds == [.number, .string, .object, .array, .null])
    #expect(try JSONText.topLevelMembers(of: Array("{ }".utf8)).isEmpty)
  }

  @Test(
    "only an object has members",
    arguments: ["[]", "1", "", "{", "{}{}", "{\"a\":1", "{\"a\"", "{\"a\":1,}", "{,}"])
  func notAnObject(text: String) {
    #expect(throws: JSONTextError.self) { try JSONText.topLevelMembers(of: Array(text.utf8)) }
  }

  @Test("a name twice is an error, however it is spelt", arguments: [0, 1, 15, 16, 17, 40])
  func duplicateNames(others: Int) throws {
    let before = (0..<others).map { #""k\#($0)":0,"# }.joined()
    let text = "{\(before)\"name\":1,"
    #expect(throws: JSONTextError(offset: text.utf8.count, expected: .uniqueKey)) {
      try JSONText.topLevelMembers(of: Array((text + #""n\u0061me":2}"#).utf8))
    }
    // Two spellings of é are one String, but two JSON names.
    let accents = "{\(before)\"\u{E9}\":1,\"e\u{301}\":2}"
    #expect(try JSONText.topLevelMembers(of: Array(accents.utf8)).count == others + 2)
  }

  // MARK: - Single values

  @Test(
    "a string is decoded",
    arguments: [
      (#""""#, ""), (#""abc""#, "abc"), (#""a\n\"\\\/\u0000""#, "a\n\"\\/\0"), (#""\ud83d\ude00é""#, "😀é"),
      (#""\\n""#, "\\n"),
    ])
  func string(raw: String, expected: String) throws {
    #expect(try raw.withBytes { bytes throws(JSONTextError) in try JSONText.string(bytes) } == expected)
  }

  @Test("an integer is exact or refused")
  func integer() throws {
    for (raw, expected) in [("0", 0), ("-0", 0), ("42", 42), ("\(Int.max)", .max), ("\(Int.min)", .min)] {
      #expect(try raw.withBytes { bytes throws(JSONTextError) in try JSONText.integer(bytes) } == expected)
    }
    for raw in [
      "", "-", "1.0", "1e2", "9223372036854775808", "-9223372036854775809", "01", "\"1\"", " 1", "1 ",
    ] {
      #expect(throws: JSONTextError.self) {
        try raw.withBytes { bytes throws(JSONTextError) in try JSONText.integer(bytes) }
      }
    }
  }

  // MARK: - One line

  @Test(
    "white space outside of strings goes",
    arguments: [
      ("{\"a\":1}", "{\"a\":1}"), (" { \"a b\" :\r\n\t[ 1 , 2 ] } \n", "{\"a b\":[1,2]}"),
      (#"{"a \" b" : "c\\" , "d":" " }"#, #"{"a \" b":"c\\","d":" "}"#), ("", ""), (" ", ""),
    ])
  func compacted(text: String, expected: String) {
    #expect(String(decoding: JSONText.compacted(Array(text.utf8)), as: UTF8.self) == expected)
  }

  // MARK: - Writer

  @Test("what is written can be read back", arguments: 0..<20 as Range<UInt64>)
  func writerRoundTrip(seed: UInt64) throws {
    var random = SeededNumbers(seed: seed)
    for _ in 0..<200 {
      let text = randomText(&random)
      var writer = JSONWriter()
      writer.append(text)
      try JSONText.validate(writer.bytes)
      let decoded = try writer.bytes.withBytes { bytes throws(JSONTextError) in try JSONText.string(bytes) }
      #expect(Array(decoded.utf8) == Array(text.utf8))
      #expect(
        try JSONSerialization.jsonObject(with: Data(writer.bytes), options: .fragmentsAllowed) as? String
          == text)
    }
  }

  @Test("a writer builds an object")
  func writerObject() throws {
    var writer = JSONWriter()
    let shape = JSONObjectShape(names: ["a", "quote\"", "c", "d"])
    shape.appendOpening(of: 0, to: &writer)
    writer.append(-120)
    shape.appendOpening(of: 1, to: &writer)
    writer.append("x\u{1}\u{1f}\n\u{7f}é")
    shape.appendOpening(of: 2, to: &writer)
    writer.append(true)
    shape.appendOpening(of: 3, to: &writer)
    writer.appendNull()
    shape.appendEnd(to: &writer)
    let expected = #"{"a":-120,"quote\"":"x\u0001\u001f\n"# + "\u{7f}é\",\"c\":true,\"d\":null}"
    #expect(String(decoding: writer.bytes, as: UTF8.self) == expected)
    var empty = JSONWriter()
    JSONObjectShape(names: []).appendEnd(to: &empty)
    #expect(empty.take() == Array("{}".utf8))
    #expect(empty.bytes.isEmpty)
  }

  @Test("integers of all sizes", arguments: [0, 1, -1, 9, 10, 99, 100, Int.max, Int.min])
  func decimal(integer: Int) {
    var bytes: [UInt8] = []
    bytes.appendDecimal(integer)
    #expect(String(decoding: bytes, as: UTF8.self) == "\(integer)")
  }

  @Test("invalid UTF-8 is reported and leaves the writer as it was")
  func writerRefusesInvalidUTF8() throws {
    var writer = JSONWriter()
    writer.append(raw: "[")
    #expect(throws: JSONTextError(offset: 3, expected: .validUTF8)) {
      let bytes = Array("abc".utf8) + [0xFF, 0x41]
      try bytes.withUnsafeBytes { try writer.append(stringBytes: $0) }
    }
    #expect(writer.bytes == Array("[".utf8))
  }

  // MARK: - Fuzz

  @Test("agrees with Foundation on mutated texts, and never crashes", arguments: 0..<8 as Range<UInt64>)
  func fuzz(seed: UInt64) throws {
    var random = SeededNumbers(seed: seed)
    let alphabet = Array("{}[]\":,\\ \n\t0123456789.eE+-truefalsnu/bd\u{1}é😀".utf8) + [0x80, 0xC3, 0xFF]
    var accepted = 0
    for _ in 0..<6_000 {
      var bytes = Array(randomJSON(&random, depth: 4).utf8)
      for _ in 0..<Int.random(in: 0...3, using: &random) where !bytes.isEmpty {
        let index = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0...2, using: &random) {
        case 0: bytes[index] = alphabet.randomElement(using: &random) ?? 0
        case 1: bytes.insert(alphabet.randomElement(using: &random) ?? 0, at: index)
        default: bytes.remove(at: index)
        }
      }
      var problem: JSONTextError?
      do { try JSONText.validate(bytes) } catch { problem = error }
      let isAccepted = problem == nil
      let foundation = try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
      // Foundation refuses numbers that no Double can hold, and lets a comma stand before a closing bracket.
      let hasExponent = bytes.contains { $0 | 0x20 == UInt8(ascii: "e") }
      let isTrailingComma =
        problem.map { $0.offset < bytes.count && "]}".utf8.contains(bytes[$0.offset]) } ?? false
      let mayDiffer = isAccepted ? hasExponent : isTrailingComma
      if isAccepted != (foundation != nil), !mayDiffer {
        Issue.record("accepted \(isAccepted): \(String(reflecting: String(decoding: bytes, as: UTF8.self)))")
      }
      if let members = try? JSONText.topLevelMembers(of: bytes) {
        #expect(isAccepted)
        #expect((foundation as? [String: Any])?.count ?? members.count == members.count)
      }
      let compacted = JSONText.compacted(bytes)
      guard isAccepted else { continue }
      accepted += 1
      try JSONText.validate(compacted)
      #expect(!compacted.contains(0x0A))
      #expect(JSONText.compacted(compacted) == compacted)
    }
    #expect(accepted > 1_000)
  }

  private func randomJSON(_ random: inout SeededNumbers, depth: Int) -> String {
    let space = [" ", "\n", "\t", "", "", ""].randomElement(using: &random) ?? ""
    let kind = Int.random(in: 0...(depth == 0 ? 4 : 6), using: &random)
    let count = Int.random(in: 0...4, using: &random)
    let value: String
    switch kind {
    case 0: value = ["null", "true", "false"].randomElement(using: &random) ?? ""
    case 1: value = "\(Int.random(in: -1_000_000...1_000_000, using: &random))"
    case 2: value = "\(Double.random(in: -1e6...1e6, using: &random))"
    case 3, 4:
      var writer = JSONWriter()
      writer.append(randomText(&random))
      value = String(decoding: writer.bytes, as: UTF8.self)
    case 5:
      value =
        "[" + (0..<count).map { _ in randomJSON(&random, depth: depth - 1) }.joined(separator: ",") + "]"
    default:
      value =
        "{"
        + (0..<count).map { "\"k\($0)\"\(space):\(randomJSON(&random, depth: depth - 1))" }.joined(
          separator: ",")
        + "}"
    }
    return space + value + space
  }

  private func randomText(_ random: inout SeededNumbers) -> String {
    let letters: [Character] = [
      "a", "b", "Z", "0", " ", "\"", "\\", "/", "\n", "\t", "\r", "\u{1}", "\u{1f}", "\u{7f}", "é", "漢", "😀",
      "\u{8}",
    ]
    let count = Int.random(in: 0...24, using: &random)
    return String((0..<count).map { _ in letters.randomElement(using: &random) ?? "a" })
  }
}

extension [UInt8] {
  fileprivate func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws(JSONTextError) -> R) throws -> R {
    try withUnsafeBytes { try body($0) }
  }
}

extension String {
  fileprivate func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws(JSONTextError) -> R) throws -> R {
    try Array(utf8).withBytes(body)
  }
}
