internal import FoundationEssentials

/// Decodes JSON payloads into Codable types: what Foundation's JSONDecoder gives with its default settings, in a third of
/// the time. See docs/decisions/0005.
///
/// Whatever is not plain (numbers with a fraction for an integer, duplicate keys, class hierarchies, any error) is given
/// to JSONDecoder, whose word is final.
enum PayloadDecoder {
  static func decode<T: Decodable>(_ type: T.Type, from payload: [UInt8]) throws -> T {
    do {
      return try PlainDecoder(JSONSlice(payload)).decoded(type)
    } catch {
      return try JSONDecoder().decode(type, from: Data(payload))
    }
  }

  /// A value that `body` makes of the payload's decoder.
  static func decode<T>(_ payload: [UInt8], _ body: (any Decoder) throws -> T) throws -> T {
    do {
      return try body(PlainDecoder(JSONSlice(payload)))
    } catch {
      return try withoutActuallyEscaping(body) { body in
        try JSONDecoder().decode(Made<T>.self, from: Data(payload), configuration: body).value
      }
    }
  }

  /// The decoder of `{}`.
  static var empty: any Decoder {
    get throws { try PlainDecoder(JSONSlice(Array("{}".utf8))) }
  }

  private struct Made<T>: DecodableWithConfiguration {
    let value: T
    init(from decoder: any Decoder, configuration body: (any Decoder) throws -> T) throws { value = try body(decoder) }
  }
}

/// Not plain: JSONDecoder has to see to it.
private struct NotPlain: Error {}

/// A value's text in a payload.
private struct JSONSlice {
  private let text: [UInt8]
  private let range: Range<Int>

  /// A whole payload: an object, as it is what the scanner checks from end to end.
  init(_ text: [UInt8]) throws {
    guard text.first == UInt8(ascii: "{") else { throw NotPlain() }
    self.text = text
    range = 0..<text.count
  }

  private init(_ text: [UInt8], _ range: Range<Int>) {
    self.text = text
    self.range = range
  }

  @inline(__always)
  private func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    try text.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[range])) }
  }

  var kind: JSONText.Kind? { withBytes { JSONText.kind(of: $0) } }

  func members() throws -> [(key: String, value: JSONSlice)] {
    try withBytes { bytes in
      try JSONText.topLevelMembers(of: bytes).map { member in
        (member.key, slice(member.value))
      }
    }
  }

  func elements() throws -> [JSONSlice] { try withBytes { try JSONText.elements(of: $0).map(slice) } }

  private func slice(_ part: Range<Int>) -> JSONSlice {
    JSONSlice(text, range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound)
  }

  var isNull: Bool { kind == .null }

  func bool() throws -> Bool {
    try withBytes { bytes in
      guard JSONText.kind(of: bytes) == .boolean else { throw NotPlain() }
      return bytes[0] == UInt8(ascii: "t")
    }
  }

  func string() throws -> String {
    try withBytes { bytes in
      guard bytes.count >= 2, bytes[0] == UInt8(ascii: "\"") else { throw NotPlain() }
      let content = UnsafeRawBufferPointer(rebasing: bytes[1..<bytes.count - 1])
      if content.contains(UInt8(ascii: "\\")) { return try JSONText.string(bytes) }
      return String(decoding: content, as: UTF8.self)
    }
  }

  func integer() throws -> Int { try withBytes { try JSONText.integer($0) } }

  /// The text of a number of a length that every decoder reads alike.
  func number() throws -> String {
    try withBytes { bytes in
      guard bytes.count <= 30, JSONText.kind(of: bytes) == .number else { throw NotPlain() }
      return String(decoding: bytes, as: UTF8.self)
    }
  }
}

private struct PlainDecoder: Decoder {
  let json: JSONSlice

  init(_ json: JSONSlice) { self.json = json }

  // Only for messages, and those are JSONDecoder's.
  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    let members = try json.members()
    // They are found by looking at one after the other.
    guard members.count <= 64 else { throw NotPlain() }
    return KeyedDecodingContainer(PlainMembers(members: members))
  }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { PlainElements(elements: try json.elements()) }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { PlainValue(json: json) }

  /// A value of any type. Some types are not decoded by their own `init(from:)`: JSONDecoder has a way for each.
  @inline(__always)
  func decoded<T: Decodable>(_ type: T.Type) throws -> T {
    // The same type under another name: no cast is needed.
    if type == String.self { return unsafeBitCast(try json.string(), to: type) }
    if type == Decimal.self {
      guard let value = Decimal(string: try json.number()) else { throw NotPlain() }
      return unsafeBitCast(value, to: type)
    }
    if type == Data.self || type == URL.self { throw NotPlain() }
    return try T(from: self)
  }
}

private struct PlainMembers<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let members: [(key: String, value: JSONSlice)]

  var codingPath: [any CodingKey] { [] }
  var allKeys: [Key] { members.compactMap { Key(stringValue: $0.key) } }

  private func find(_ key: Key) -> JSONSlice? {
    let name = key.stringValue
    for member in members where member.key == name { return member.value }
    return nil
  }

  private func value(_ key: Key) throws -> JSONSlice {
    guard let value = find(key) else { throw NotPlain() }
    return value
  }

  private func present(_ key: Key) -> JSONSlice? { find(key).flatMap { $0.isNull ? nil : $0 } }

  func contains(_ key: Key) -> Bool { find(key) != nil }
  func decodeNil(forKey key: Key) throws -> Bool { try value(key).isNull }
  func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool { try value(key).bool() }
  func decode(_ type: String.Type, forKey key: Key) throws -> String { try value(key).string() }
  func decode(_ type: Int.Type, forKey key: Key) throws -> Int { try value(key).integer() }
  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
    try PlainDecoder(value(key)).decoded(type)
  }

  func decodeIfPresent(_ type: Bool.Type, forKey key: Key) throws -> Bool? { try present(key)?.bool() }
  func decodeIfPresent(_ type: String.Type, forKey key: Key) throws -> String? { try present(key)?.string() }
  func decodeIfPresent(_ type: Int.Type, forKey key: Key) throws -> Int? { try present(key)?.integer() }
  func decodeIfPresent<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T? {
    try present(key).map { try PlainDecoder($0).decoded(type) }
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> { try PlainDecoder(value(key)).container(keyedBy: type) }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    try PlainDecoder(value(key)).unkeyedContainer()
  }
  func superDecoder() throws -> any Decoder { throw NotPlain() }
  func superDecoder(forKey key: Key) throws -> any Decoder { throw NotPlain() }
}

private struct PlainElements: UnkeyedDecodingContainer {
  let elements: [JSONSlice]
  private(set) var currentIndex = 0

  init(elements: [JSONSlice]) { self.elements = elements }

  var codingPath: [any CodingKey] { [] }
  var count: Int? { elements.count }
  var isAtEnd: Bool { currentIndex == elements.count }

  private mutating func next<R>(_ body: (JSONSlice) throws -> R) throws -> R {
    guard !isAtEnd else { throw NotPlain() }
    let result = try body(elements[currentIndex])
    currentIndex += 1
    return result
  }

  mutating func decodeNil() throws -> Bool {
    guard !isAtEnd else { throw NotPlain() }
    guard elements[currentIndex].isNull else { return false }
    currentIndex += 1
    return true
  }
  mutating func decode<T: Decodable>(_ type: T.Type) throws -> T { try next { try PlainDecoder($0).decoded(type) } }
  mutating func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type
  ) throws -> KeyedDecodingContainer<Nested> { try next { try PlainDecoder($0).container(keyedBy: type) } }
  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
    try next { try PlainDecoder($0).unkeyedContainer() }
  }
  mutating func superDecoder() throws -> any Decoder { throw NotPlain() }
}

private struct PlainValue: SingleValueDecodingContainer {
  let json: JSONSlice

  var codingPath: [any CodingKey] { [] }

  private func integer<I: FixedWidthInteger>() throws -> I {
    guard let value = I(exactly: try json.integer()) else { throw NotPlain() }
    return value
  }

  func decodeNil() -> Bool { json.isNull }
  func decode(_ type: Bool.Type) throws -> Bool { try json.bool() }
  func decode(_ type: String.Type) throws -> String { try json.string() }
  func decode(_ type: Double.Type) throws -> Double {
    guard let value = Double(try json.number()), value.isFinite else { throw NotPlain() }
    return value
  }
  func decode(_ type: Float.Type) throws -> Float { throw NotPlain() }
  func decode(_ type: Int.Type) throws -> Int { try integer() }
  func decode(_ type: Int8.Type) throws -> Int8 { try integer() }
  func decode(_ type: Int16.Type) throws -> Int16 { try integer() }
  func decode(_ type: Int32.Type) throws -> Int32 { try integer() }
  func decode(_ type: Int64.Type) throws -> Int64 { try integer() }
  func decode(_ type: UInt.Type) throws -> UInt { try integer() }
  func decode(_ type: UInt8.Type) throws -> UInt8 { try integer() }
  func decode(_ type: UInt16.Type) throws -> UInt16 { try integer() }
  func decode(_ type: UInt32.Type) throws -> UInt32 { try integer() }
  func decode(_ type: UInt64.Type) throws -> UInt64 { try integer() }
  func decode<T: Decodable>(_ type: T.Type) throws -> T { try PlainDecoder(json).decoded(type) }
}
