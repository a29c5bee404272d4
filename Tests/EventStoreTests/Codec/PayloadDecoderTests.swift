import Foundation
import TestSupport
import Testing

@testable import EventStore

@Suite("Decoding payloads gives what JSONDecoder gives")
struct PayloadDecoderTests {
  enum Kind: String, Codable { case small, large }
  enum Choice: Codable, Equatable { case none, number(Int), named(name: String, Bool) }
  struct Inner: Codable, Equatable {
    var a: Int8
    var b: [String: UInt16]?
  }
  struct Everything: Codable, Equatable {
    var string: String
    var optional: String?
    var int: Int
    var unsigned: UInt64?
    var double: Double
    var float: Float?
    var bool: Bool
    var decimal: Decimal
    var date: Date?
    var uuid: UUID?
    var data: Data?
    var url: URL?
    var kind: Kind?
    var choice: Choice?
    var inner: Inner?
    var list: [Inner?]
    var numbers: [[Double]]
    var byNumber: [Int: String]?
  }
  struct Box<T: Codable & Equatable>: Codable, Equatable { var v: T }
  /// What is wrong is left out: as many types do that are lenient with old payloads.
  struct Lenient<T: Codable & Equatable>: Codable, Equatable {
    var v: T?
    var list: [T] = []
    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: CodingKeys.self)
      v = try? container.decode(T.self, forKey: .v)
      if v == nil, var elements = try? container.nestedUnkeyedContainer(forKey: .v) {
        while !elements.isAtEnd {
          if let element = try? elements.decode(T.self) {
            list.append(element)
          } else {
            _ = try? elements.decode(Whatever.self)
          }
        }
      }
    }
    struct Whatever: Codable { init(from decoder: any Decoder) throws {} }
  }
  struct Empty: Codable, Equatable {}
  class Base: Codable { var base = 1 }
  final class Derived: Base {
    var own: Int
    required init(from decoder: any Decoder) throws {
      own = try decoder.container(keyedBy: Keys.self).decode(Int.self, forKey: .own)
      try super.init(from: decoder.container(keyedBy: Keys.self).superDecoder())
    }
    override func encode(to encoder: any Encoder) throws {}
    enum Keys: String, CodingKey { case own, `super` }
  }

  private func same<T: Codable & Equatable>(_ type: T.Type, _ json: String) {
    let expected = Result { try JSONDecoder().decode(type, from: Data(json.utf8)) }
    let found = Result { try PayloadDecoder.decode(type, from: Array(json.utf8)) }
    switch (expected, found) {
    case (.success(let expected), .success(let found)):
      #expect(expected == found, "\(json)")
      let encoder = JSONEncoder()
      encoder.outputFormatting = .sortedKeys
      #expect((try? encoder.encode(expected)) == (try? encoder.encode(found)), "\(json)")
    case (.failure(let expected), .failure(let found)):
      // Of several that are wrong JSONDecoder finds another one each time.
      var all: Set = ["\(expected)"]
      for _ in 0..<50 where !all.contains("\(found)") {
        do { _ = try JSONDecoder().decode(type, from: Data(json.utf8)) } catch { all.insert("\(error)") }
      }
      #expect(all.contains("\(found)"), "\(json)")
    default: Issue.record("\(json): expected \(expected), found \(found)")
    }
  }

  @Test(
    "values of all kinds, right and wrong",
    arguments: [
      "0", "-1", "1.0", "1.5", "1e2", "1E-2", "10.10", "0.1", "123456789012345678901234567890.12345", "1e400", "-0",
      "1e-400",
      "0e-400", "0.000", "-0.0e5",
      "-0.0",
      "9223372036854775807", "9223372036854775808", "18446744073709551615", "256", "null", "true", "false", "\"\"",
      "\"a\"", "\"\\u00e9\\n\\\"\"", "\"\\ud83d\\ude00\"", "\"10.5\"", "[]", "{}", "[1]", "[1,2.5,\"x\"]", "{\"a\":1}",
      "{\"a\":1,\"a\":2}", "{\"a\":1000}", "\"2020-01-01\"", "\"aGk=\"", "\"https://example.org/a?b\"", "\"small\"",
      "\"tiny\"", "{\"number\":{\"_0\":3}}", "{\"none\":{}}", "{\"named\":{\"name\":\"x\",\"_1\":true}}",
      "{\"none\":{},\"b\":1}",
      "\"5E8400D2-9B6C-4C67-9E4B-2A0B0B0B0B0B\"", "", " ", "nul", "{", "[1,]", "\"", "1 2", "\u{FEFF}1",
      "  [ 1 , 2 ]  ",
      "{ \"a\" : 5 , \"b\" : { \"x\" : 65535 } }", "{\"a\":null}", "{\"1\":\"x\",\"2\":\"y\"}",
    ])
  func values(json: String) {
    func same<T: Codable & Equatable>(_ type: T.Type, _ json: String) {
      self.same(type, json)
      // Only an object is decoded plainly.
      self.same(Box<T>.self, "{\"v\":\(json)}")
      self.same(Box<T?>.self, "{\"v\":\(json)}")
      self.same(Box<[T]>.self, "{ \"v\" : [\(json), \(json)] }")
      self.same(Lenient<T>.self, "{\"v\":\(json)}")
      self.same(Lenient<T>.self, "{\"v\":[1, \(json), null]}")
    }
    same(Empty.self, json)
    same(Int.self, json)
    same(Int8.self, json)
    same(UInt64.self, json)
    same(Double.self, json)
    same(Float.self, json)
    same(Bool.self, json)
    same(String.self, json)
    same(Decimal.self, json)
    same(Date.self, json)
    same(UUID.self, json)
    same(Data.self, json)
    same(URL.self, json)
    same(Kind.self, json)
    same(Choice.self, json)
    same(Inner.self, json)
    same(Int?.self, json)
    same([Int].self, json)
    same([Double?].self, json)
    same([String: Int].self, json)
    same([Int: String].self, json)
    same([String: [String: UInt16]].self, json)
  }

  /// Each element says where it stands.
  struct Placed: Codable, Equatable {
    var path: [String]
    var parts: [String: [Placed]]
    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: CodingKeys.self)
      // As types do that are identified by the key they stand under.
      path = (decoder.codingPath + container.codingPath).map(\.stringValue)
      parts = [:]
      if container.contains(.parts) {
        let nested = try container.nestedContainer(keyedBy: AnyKey.self, forKey: .parts)
        for key in nested.allKeys.sorted(by: { $0.stringValue < $1.stringValue }) {
          var elements = try nested.nestedUnkeyedContainer(forKey: key)
          path += elements.codingPath.map(\.stringValue)
          while !elements.isAtEnd { parts[key.stringValue, default: []].append(try elements.decode(Placed.self)) }
        }
        guard nested.codingPath.last?.stringValue == "parts" else { throw CocoaError(.coderReadCorrupt) }
      }
    }
  }
  struct AnyKey: CodingKey {
    let stringValue: String
    let intValue: Int? = nil
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }
  struct Keys: Codable, Equatable {
    var count: Int
    init(from decoder: any Decoder) throws { count = try decoder.container(keyedBy: AnyKey.self).allKeys.count }
  }
  struct Large: Codable, Equatable {
    var v = Int128(0)
    var u = UInt128(0)
    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: CodingKeys.self)
      v = (try? container.decode(Int128.self, forKey: .v)) ?? -1
      u = (try? container.decode(UInt128.self, forKey: .u)) ?? 1
      var list = try? container.nestedUnkeyedContainer(forKey: .v)
      if let value = try? list?.decode(Int128.self) { v = value }
    }
    func encode(to encoder: any Encoder) throws {}
    enum CodingKeys: String, CodingKey { case v, u }
  }

  @Test(
    "a type that asks where it stands, for large integers, or for its keys, is told what JSONDecoder tells it",
    arguments: [
      #"{"parts":{"a":[{},{"parts":{"b":[{},{}]}}],"c":[ {} ]}}"#, #"{"v":5,"u":7}"#,
      #"{"v":[170141183460469231731687303715884105727]}"#, "{\"e\u{301}\":1,\"\u{E9}\":2}",
    ])
  func asked(json: String) {
    same(Placed.self, json)
    same(Large.self, json)
    same(Keys.self, json)
  }

  @Test("what is plain is decoded plainly")
  func plain() {
    func isPlain<T: Codable & Equatable>(_ value: T, _ json: String) {
      #expect(PayloadDecoder.plainly(Box<T>.self, from: Array("{\"v\":\(json)}".utf8)) == Box(v: value), "\(json)")
    }
    isPlain(1, "1")
    isPlain(Int.min, "-9223372036854775808")
    isPlain(true, "true")
    isPlain("a\né", "\"a\\n\\u00e9\"")
    isPlain(Decimal(string: "10.10")!, "10.10")
    isPlain(0.25, "2.5e-1")
    isPlain(-0.0, "-0.00")
    isPlain([1, 2], "[1, 2]")
    isPlain(["a": UInt8(255)], "{\"a\":255}")
    isPlain([Int?](), "[]")
    isPlain([1, nil], "[1,null]")
    isPlain(Kind.large, "\"large\"")
    isPlain(Choice.number(3), "{\"number\":{\"_0\":3}}")
    isPlain(Inner(a: 1, b: nil), "{\"a\":1,\"b\":null}")
    #expect(PayloadDecoder.plainly(Box<URL>.self, from: Array("{\"v\":\"https://example.org\"}".utf8)) == nil)
    #expect(PayloadDecoder.plainly(Empty.self, from: Array("{\"a\":".utf8)) == nil)
  }

  @Test("an error names what the program declares, and no keys or values of the payload")
  func errors() throws {
    struct Shares: Event {
      static let eventType = "shares"
      struct Row: Codable { var price: Int }
      var shares: [String: Int]?
      var rows: [Row]?
      var nested: [String: [String: Row]]?
    }
    let codec = EventCodec(Shares.self)
    for (payload, reason) in [
      (#"{"shares":{"alice@example.com":"x"}}"#, "shares.* is no Int"),
      (#"{"rows":[{"price":1},{"cost":1}]}"#, "key rows.1.price is missing"),
      (#"{"nested":{"bob":{"7":{"price":null}}}}"#, "nested.*.*.price is null, expected Int"),
    ] {
      let event = RecordedEvent(
        id: UUID(), stream: "s-1", version: 1, position: .start, type: "shares", schemaVersion: 1, recordedAt: Date(),
        payload: .success(.json(payload)))
      let error = #expect(throws: CodecError.self) { _ = try codec.decode(event) }
      guard case .decoding(_, _, let found)? = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
      #expect(found == reason)
    }
  }

  @Test("whole structs, random, some damaged", arguments: 1...200 as ClosedRange<UInt64>)
  func structs(seed: UInt64) throws {
    var random = SeededNumbers(seed: seed)
    func maybe<T>(_ value: T) -> T? { Bool.random(using: &random) ? value : nil }
    func text() -> String {
      String(
        (0..<Int.random(in: 0..<20, using: &random)).map { _ in "aé\n\"\\😀\u{1}/ 0".randomElement(using: &random) ?? "a"
        })
    }
    func inner() -> Inner { Inner(a: .random(in: .min ... .max, using: &random), b: maybe([text(): 3, "x": 65535])) }
    let value = Everything(
      string: text(), optional: maybe(text()), int: .random(in: .min ... .max, using: &random),
      unsigned: maybe(.random(in: .min ... .max, using: &random)), double: .random(in: -1e9...1e9, using: &random),
      float: maybe(.random(in: -1e9...1e9, using: &random)), bool: .random(using: &random),
      decimal: Decimal(Int.random(in: .min ... .max, using: &random)) / 100,
      date: maybe(Date(timeIntervalSince1970: .random(in: 0...2e9, using: &random))), uuid: maybe(UUID()),
      data: maybe(Data(text().utf8)), url: maybe(URL(string: "https://example.org/\(seed)")!), kind: maybe(.large),
      choice: maybe(.named(name: text(), true)), inner: maybe(inner()), list: [inner(), nil, inner()],
      numbers: [[], [1, 2.25], [.pi]], byNumber: maybe([5: text(), -7: "b"]))
    let encoder = JSONEncoder()
    if Bool.random(using: &random) { encoder.outputFormatting = .prettyPrinted }
    var json = String(decoding: try encoder.encode(value), as: UTF8.self)
    same(Everything.self, json)
    #expect(try PayloadDecoder.decode(Everything.self, from: Array(json.utf8)) == value)
    for _ in 0..<20 {
      let index = json.indices.randomElement(using: &random) ?? json.startIndex
      json.replaceSubrange(index...index, with: ["", "0", "\"", "}", "null", ","].randomElement(using: &random) ?? "")
      same(Everything.self, json)
    }
  }

  @Test("a class hierarchy goes its usual way")
  func classes() throws {
    #expect(try PayloadDecoder.decode(Derived.self, from: Array(#"{"own":5,"super":{"base":7}}"#.utf8)).base == 7)
  }
}
