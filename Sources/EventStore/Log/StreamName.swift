internal import Glibc

/// The name of a stream: `category-id`, such as `account-42`. One stream holds one aggregate's events.
///
/// The category is what stands before the first `-`; a name without one is its own category. A name is 1 to 512
/// bytes of UTF-8 without control characters.
public struct StreamName: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let description: String

  /// What stands before the first `-`.
  public var category: String { String(decoding: description.utf8.prefix { $0 != Self.hyphen }, as: UTF8.self) }

  /// What stands after the first `-`, or nothing.
  public var id: String {
    String(decoding: description.utf8.drop { $0 != Self.hyphen }.dropFirst(), as: UTF8.self)
  }

  /// Looked for among the bytes, as the store does: with a mark that combines with it, it is another Character.
  private static let hyphen = UInt8(ascii: "-")

  /// - Throws: ``InvalidName`` for an empty or overlong name, a control character, or an empty category.
  public init(_ name: String) throws(InvalidName) {
    try InvalidName.check(name, as: "stream name", maximum: 512)
    guard name.utf8.first != Self.hyphen else {
      throw InvalidName(kind: "stream name", name: name, problem: "has no category before its first '-'")
    }
    description = name
  }

  /// The stream `category-id`.
  public init(category: String, id: String) throws(InvalidName) {
    guard !category.utf8.contains(Self.hyphen) else {
      throw InvalidName(kind: "category", name: category, problem: "has a '-', which ends a category")
    }
    try self.init("\(category)-\(id)")
  }

  /// For names that this process has already checked or that come from the store.
  package init(trusted name: String) { description = name }

  /// Byte by byte, as the store does: Swift takes two spellings of é for one String, PostgreSQL for two.
  public static func == (left: Self, right: Self) -> Bool { left.description.isSameBytes(as: right.description) }

  /// Byte by byte, too.
  public static func < (left: Self, right: Self) -> Bool { left.description.precedesByBytes(right.description) }
}

/// A name as a key: compared byte by byte.
package struct ExactName: Hashable, Sendable {
  package let text: String

  package init(_ text: String) { self.text = text }

  package static func == (left: Self, right: Self) -> Bool { left.text.isSameBytes(as: right.text) }
}

extension String {
  fileprivate var hasControlCharacter: Bool {
    // Those of two bytes, U+0080 to U+009F, begin with this one.
    func isControl(_ byte: UInt8) -> Bool { byte < 0x20 || byte == 0x7F || byte == 0xC2 }
    guard utf8.withContiguousStorageIfAvailable({ $0.contains(where: isControl) }) ?? utf8.contains(where: isControl)
    else { return false }
    return unicodeScalars.contains { $0.properties.generalCategory == .control }
  }

  /// (By memcmp: the library's elementsEqual took a tenth of an append's instructions.)
  package func isSameBytes(as other: String) -> Bool {
    other.utf8.withContiguousStorageIfAvailable { isBytes(UnsafeRawBufferPointer($0)) }
      ?? utf8.elementsEqual(other.utf8)
  }

  fileprivate func precedesByBytes(_ other: String) -> Bool {
    utf8.withContiguousStorageIfAvailable { own in
      other.utf8.withContiguousStorageIfAvailable { other in
        guard let left = own.baseAddress, let right = other.baseAddress else { return own.count < other.count }
        let order = memcmp(left, right, min(own.count, other.count))
        return order == 0 ? own.count < other.count : order < 0
      }
    }.flatMap(\.self) ?? utf8.lexicographicallyPrecedes(other.utf8)
  }

  func isBytes(_ bytes: UnsafeRawBufferPointer) -> Bool {
    utf8.withContiguousStorageIfAvailable { own in
      guard own.count == bytes.count else { return false }
      guard let left = own.baseAddress, let right = bytes.baseAddress else { return true }
      return memcmp(left, right, own.count) == 0
    } ?? utf8.elementsEqual(bytes)
  }
}

extension StreamName: ExpressibleByStringLiteral {
  /// A literal is the programmer's word: an invalid one traps.
  public init(stringLiteral name: String) {
    do { try self.init(name) } catch { preconditionFailure(error.description) }
  }
}

extension StreamName: Codable {
  public init(from decoder: any Decoder) throws {
    try self.init(decoder.singleValueContainer().decode(String.self))
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// A stream, category, event type or subject whose name cannot be stored.
public struct InvalidName: Error, Hashable, Sendable, CustomStringConvertible {
  /// What it was to be: `stream name`, `category`, `event type` …
  public let kind: String
  /// As it was given, in full.
  public let name: String
  /// What is wrong with it, to follow the name: `is empty`.
  public let problem: String

  public var description: String { "\(kind) \(name.prefix(80).debugDescription) \(problem)" }

  package static func check(_ name: String, as kind: String, maximum: Int) throws(InvalidName) {
    guard !name.isEmpty else { throw InvalidName(kind: kind, name: name, problem: "is empty") }
    guard name.utf8.count <= maximum else {
      throw InvalidName(
        kind: kind, name: name, problem: "has \(name.utf8.count) bytes; at most \(maximum) are allowed")
    }
    guard !name.hasControlCharacter else {
      throw InvalidName(kind: kind, name: name, problem: "has a control character")
    }
  }
}
