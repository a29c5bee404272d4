internal import FoundationEssentials

/// Decodes JSON payloads into Codable types: what Foundation's JSONDecoder gives with its default settings, in a third of
/// the time. See docs/decisions/0005.
///
/// Whatever is not plain (numbers with a fraction for an integer, duplicate keys, class hierarchies, any error, also one
/// that the type's own code caught) is given to JSONDecoder, whose word is final.
enum PayloadDecoder {
  static func decode<T: Decodable>(_ type: T.Type, from payload: [UInt8]) throws -> T {
    try plainly(type, from: payload) ?? JSONDecoder().decode(type, from: Data(payload))
  }

  /// A value that `body` makes of the payload's decoder.
  static func decode<T>(_ payload: [UInt8], _ body: (any Decoder) throws -> T) throws -> T {
    if let value = plainly(payload, body) { return value }
    return try withoutActuallyEscaping(body) { body in
      try JSONDecoder().decode(Made<T>.self, from: Data(payload), configuration: body).value
    }
  }

  /// `nil`: it is not plain.
  static func plainly<T: Decodable>(_ type: T.Type, from payload: [UInt8]) -> T? {
    plainly(payload) { try $0.decoded(type) }
  }

  /// What `body` makes is taken only where nothing was thrown on the way: it may have caught that, and gone on without what
  /// JSONDecoder would have given it.
  private static func plainly<T>(_ payload: [UInt8], _ body: (PlainDecoder) throws -> T) -> T? {
    guard let json = JSONSlice(payload), let value = try? body(PlainDecoder(json)), json.source.isPlain,
      json.source.isChecked
    else { return nil }
    return value
  }

  private struct Made<T>: DecodableWithConfiguration {
    let value: T
    init(from decoder: any Decoder, configuration body: (any Decoder) throws -> T) throws { value = try body(decoder) }
  }
}

/// Not plain: JSONDecoder has to see to it.
private struct NotPlain: Error {}

/// A payload, and what is known of it.
private final class Source {
  let text: [UInt8]
  /// Whether nothing was thrown so far.
  var isPlain = true
  /// Whether it was looked through to its end.
  var isChecked = false

  init(_ text: [UInt8]) { self.text = text }

  func notPlain() -> NotPlain {
    isPlain = false
    return NotPlain()
  }
}

/// A value's text in a payload.
private struct JSONSlice {
  let source: Source
  private let range: Range<Int>

  /// A whole payload: an object, as it is what the scanner checks from end to end.
  init?(_ text: [UInt8]) {
    guard text.first == UInt8(ascii: "{") else { return nil }
    self.init(Source(text))
  }

  init(_ source: Source) { self.init(source, 0..<source.text.count) }

  private init(_ source: Source, _ range: Range<Int>) {
    self.source = source
    self.range = range
  }

  @inline(__always)
  private func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
    do {
      return try source.text.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[range])) }
    } catch {
      source.isPlain = false
      throw error
    }
  }

  var kind: JSONText.Kind? { withBytes { JSONText.kind(of: $0) } }

  /// Where its parts stand, for ``part(_:)``.
  func members() throws -> [JSONText.Member] {
    let members = try withBytes { try JSONText.topLevelMembers(of: $0) }
    source.isChecked = true
    return members
  }

  /// As ``members()``.
  func elements() throws -> [Range<Int>] { try withBytes { try JSONText.elements(of: $0) } }

  func part(_ part: Range<Int>) -> JSONSlice {
    JSONSlice(source, range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound)
  }

  var isNull: Bool { kind == .null }

  /// The way here from the payload's beginning. Looked for only where a type asks: most never do. What it makes of that is
  /// not taken, as the keys of JSONDecoder's path are of the type's own kinds.
  var path: [any CodingKey] {
    source.isPlain = false
    var path: [any CodingKey] = []
    var value = JSONSlice(source)
    while value.range != range {
      if let member = try? value.members().first(where: { value.part($0.value).range.contains(range) }) {
        path.append(PathKey(stringValue: member.key))
        value = value.part(member.value)
      } else if let (index, element) = try? value.elements().enumerated().first(where: {
        value.part($1).range.contains(range)
      }) {
        path.append(PathKey(intValue: index))
        value = value.part(element)
      } else {
        break
      }
    }
    return path
  }

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

/// A key of a path, named as JSONDecoder names it.
private struct PathKey: CodingKey {
  let stringValue: String
  let intValue: Int?

  init(stringValue: String) {
    self.stringValue = stringValue
    intValue = nil
  }

  init(intValue: Int) {
    stringValue = "Index \(intValue)"
    self.intValue = intValue
  }
}

private struct PlainDecoder: Decoder {
  let json: JSONSlice

  init(_ json: JSONSlice) { self.json = json }

  var codingPath: [any CodingKey] { json.path }
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    let members = try json.members()
    // They are found by looking at one after the other.
    guard members.count <= 64 else { throw json.source.notPlain() }
    return KeyedDecodingContainer(PlainMembers(json: json, members: members))
  }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
    PlainElements(json: json, elements: try json.elements())
  }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { PlainValue(json: json) }

  /// A value of any type. Some types are not decoded by their own `init(from:)`: JSONDecoder has a way for each.
  @inline(__always)
  func decoded<T: Decodable>(_ type: T.Type) throws -> T {
    // The same type under another name: no cast is needed.
    if type == String.self { return unsafeBitCast(try json.string(), to: type) }
    if type == Decimal.self {
      guard let value = Decimal(string: try json.number()) else { throw json.source.notPlain() }
      return unsafeBitCast(value, to: type)
    }
    if type == Data.self || type == URL.self { throw json.source.notPlain() }
    return try T(from: self)
  }
}

private struct PlainMembers<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let json: JSONSlice
  let members: [JSONText.Member]

  var codingPath: [any CodingKey] { json.path }
  var allKeys: [Key] {
    // Two that String takes for one, é in two spellings: JSONDecoder has one of them.
    if Set(members.map(\.key)).count < members.count { json.source.isPlain = false }
    return members.compactMap { Key(stringValue: $0.key) }
  }

  private func find(_ key: Key) -> JSONSlice? {
    let name = key.stringValue
    for member in members where member.key == name { return json.part(member.value) }
    return nil
  }

  private func value(_ key: Key) throws -> JSONSlice {
    guard let value = find(key) else { throw json.source.notPlain() }
    return value
  }

  private func present(_ key: Key) -> JSONSlice? { find(key).flatMap { $0.isNull ? nil : $0 } }

  func contains(_ key: Key) -> Bool { find(key) != nil }
  func decodeNil(forKey key: Key) throws -> Bool { try value(key).isNull }
  func decode(_ type: Bool.Type, forKey key: Key) throws -> Bool { try value(key).bool() }
  func decode(_ type: String.Type, forKey key: Key) throws -> String { try value(key).string() }
  func decode(_ type: Int.Type, forKey key: Key) throws -> Int { try value(key).integer() }
  // Without these two, they would be refused, and nobody told.
  func decode(_ type: Int128.Type, forKey key: Key) throws -> Int128 { throw json.source.notPlain() }
  func decode(_ type: UInt128.Type, forKey key: Key) throws -> UInt128 { throw json.source.notPlain() }
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
  func superDecoder() throws -> any Decoder { throw json.source.notPlain() }
  func superDecoder(forKey key: Key) throws -> any Decoder { throw json.source.notPlain() }
}

private struct PlainElements: UnkeyedDecodingContainer {
  private let json: JSONSlice
  private let elements: [Range<Int>]
  private(set) var currentIndex = 0

  init(json: JSONSlice, elements: [Range<Int>]) {
    self.json = json
    self.elements = elements
  }

  var codingPath: [any CodingKey] { json.path }
  var count: Int? { elements.count }
  var isAtEnd: Bool { currentIndex == elements.count }

  private mutating func next<R>(_ body: (JSONSlice) throws -> R) throws -> R {
    guard !isAtEnd else { throw json.source.notPlain() }
    let result = try body(json.part(elements[currentIndex]))
    currentIndex += 1
    return result
  }

  mutating func decodeNil() throws -> Bool {
    guard !isAtEnd else { throw json.source.notPlain() }
    guard json.part(elements[currentIndex]).isNull else { return false }
    currentIndex += 1
    return true
  }
  mutating func decode(_ type: Int128.Type) throws -> Int128 { throw json.source.notPlain() }
  mutating func decode(_ type: UInt128.Type) throws -> UInt128 { throw json.source.notPlain() }
  mutating func decode<T: Decodable>(_ type: T.Type) throws -> T { try next { try PlainDecoder($0).decoded(type) } }
  mutating func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type
  ) throws -> KeyedDecodingContainer<Nested> { try next { try PlainDecoder($0).container(keyedBy: type) } }
  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
    try next { try PlainDecoder($0).unkeyedContainer() }
  }
  mutating func superDecoder() throws -> any Decoder { throw json.source.notPlain() }
}

private struct PlainValue: SingleValueDecodingContainer {
  let json: JSONSlice

  var codingPath: [any CodingKey] { json.path }

  private func integer<I: FixedWidthInteger>() throws -> I {
    guard let value = I(exactly: try json.integer()) else { throw json.source.notPlain() }
    return value
  }

  func decodeNil() -> Bool { json.isNull }
  func decode(_ type: Bool.Type) throws -> Bool { try json.bool() }
  func decode(_ type: String.Type) throws -> String { try json.string() }
  func decode(_ type: Double.Type) throws -> Double {
    let text = try json.number()
    // JSONDecoder refuses what is too small to be told from 0, and some odd ways of writing 0.
    guard let value = Double(text), value.isFinite, value != 0 || text.allSatisfy({ "-0.".contains($0) }) else {
      throw json.source.notPlain()
    }
    return value
  }
  func decode(_ type: Float.Type) throws -> Float { throw json.source.notPlain() }
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
  func decode(_ type: Int128.Type) throws -> Int128 { throw json.source.notPlain() }
  func decode(_ type: UInt128.Type) throws -> UInt128 { throw json.source.notPlain() }
  func decode<T: Decodable>(_ type: T.Type) throws -> T { try PlainDecoder(json).decoded(type) }
}
