import FoundationEssentials
import TestSupport
import Testing

@testable import EventStore

@Suite("Keyring, as text") struct KeyringTextTests {
  static let source = "environment variable EVENTSTORE_KEYRING"

  static func line() throws -> String {
    try Keyring.withNewLine { String(decoding: $0, as: UTF8.self) }
  }

  static func parse(_ text: String) throws(EncryptionError) -> Keyring {
    try Keyring(text: text.utf8, source: source)
  }

  @Test("a new line is a keyring")
  func newLine() throws {
    let line = try Self.line()
    #expect(line.wholeMatch(of: /mk_[0-9a-f]{16} [A-Za-z0-9+\/]{43}=\n/) != nil)
    #expect(try line != Self.line())
    let keyring = try Self.parse(line)
    #expect(line.hasPrefix(keyring.active.id))
    #expect(keyring.ids == [keyring.active.id])
    #expect(keyring[keyring.active.id] === keyring.active)
    #expect(keyring["mk_0000000000000000"] == nil)
  }

  @Test("comments, blank lines, tabs, CRLF and a missing last newline are no matter; the last key is active")
  func lenient() throws {
    let (first, second) = (try Self.line(), try Self.line())
    let tabbed = second.dropLast().replacing(" ", with: " \t ")
    let keyring = try Self.parse("# mine\r\n\r\n  \n" + first.dropLast() + "\r\n\t# more\n  " + tabbed)
    #expect(keyring.ids == [String(first.prefix(19)), String(second.prefix(19))])
    #expect(keyring.active.id == second.prefix(19))
  }

  @Test("a single key needs no id, with or without padding and a newline")
  func bare() throws {
    let bare = EncryptionFixture.bareKey
    let id = try Self.parse(bare).active.id
    // Frozen: the id of a key never changes.
    #expect(id == "mk_4c096786f8321c7b")
    #expect(try Self.parse("# from the vault\n\(bare)\n\n").ids == [id])
    #expect(try Self.parse(String(bare.dropLast())).ids == [id])
    #expect(try Self.parse("\(id) \(bare)").ids == [id])
  }

  @Test("bytes that do not lie in one piece are read as well")
  func pieces() throws {
    let text = Scattered(bytes: Array(EncryptionFixture.bareKey.utf8))
    #expect(text.withContiguousStorageIfAvailable { _ in true } == nil)
    #expect(try Keyring(text: text, source: "a vault").ids.count == 1)
  }

  /// A collection without contiguous storage.
  private struct Scattered: Collection {
    let bytes: [UInt8]
    var startIndex: Int { 0 }
    var endIndex: Int { bytes.count }
    func index(after i: Int) -> Int { i + 1 }
    subscript(i: Int) -> UInt8 { bytes[i] }
  }

  static let good = EncryptionFixture.bareKey
  static let malformedTexts: [(text: String, line: Int)] = [
    ("nonsense", 1),
    ("mk_0123456789abcdef", 1),
    ("mk_0123456789abcdef \(good) more", 1),
    ("\(good) \(good)", 1),
    ("mk_0123456789ABCDEF \(good)", 1),
    ("mk_0123456789abcde \(good)", 1),
    ("\n#\nmk_0123456789abcdef " + good.dropLast(2), 3),
    ("mk_0123456789abcdef \(good)=", 1),
    ("mk_0123456789abcdef *" + good.dropFirst(), 1),
    (good + "\n" + good, 1),
    ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 1),
    (String(repeating: "=", count: 44), 1),
  ]

  @Test("a line that is no key is named by its number, and never shown", arguments: malformedTexts.indices)
  func malformed(index: Int) {
    let (text, line) = Self.malformedTexts[index]
    let error = #expect(throws: EncryptionError.self) { try Self.parse(text) }
    guard case .keyringMalformed(Self.source, line, _) = error else {
      Issue.record("expected .keyringMalformed in line \(line), found \(String(describing: error))")
      return
    }
    #expect(error?.description.contains(Self.good.prefix(8)) == false)
  }

  @Test("a key that is not that of its id is refused, as is one that comes twice")
  func mismatch() throws {
    let found = try Self.parse(Self.good).active.id
    #expect(
      throws: EncryptionError.keyringMismatch(
        source: Self.source, line: 2, written: "mk_0123456789abcdef", found: found)
    ) { try Self.parse("\nmk_0123456789abcdef \(Self.good)") }
    #expect(throws: EncryptionError.self) { try Self.parse("\(found) \(Self.good)\n\(found) \(Self.good)") }
  }

  @Test("nothing, or only comments, is empty", arguments: ["", "\n\n", "# none\n", "   "])
  func empty(text: String) {
    #expect(throws: EncryptionError.keyringEmpty(source: Self.source)) { try Self.parse(text) }
  }

  @Test("a text longer than any keyring is refused")
  func large() {
    #expect(throws: EncryptionError.keyringTooLarge(source: Self.source, limit: 1 << 20)) {
      try Self.parse(String(repeating: "#", count: (1 << 20) + 1))
    }
  }

  @Test("random bytes never crash", arguments: 0..<10)
  func noise(seed: Int) throws {
    var numbers = SeededNumbers(seed: UInt64(seed))
    let line = try Array((Self.line() + Self.line()).utf8)
    for _ in 0..<300 {
      var text = line
      for _ in 0..<Int.random(in: 1...4, using: &numbers) {
        text[Int.random(in: 0..<text.count, using: &numbers)] = UInt8.random(in: 0...255, using: &numbers)
      }
      _ = try? Keyring(text: text.prefix(Int.random(in: 0...text.count, using: &numbers)), source: "noise")
    }
  }
}
