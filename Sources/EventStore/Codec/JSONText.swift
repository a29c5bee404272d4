/// JSON as bytes: checked, taken apart one level deep and put on one line, without decoding what need not be
/// decoded.
///
/// Strict RFC 8259, valid UTF-8 and no half surrogate pairs. Numbers are never decoded: `1000.00` stays
/// `1000.00`.
package enum JSONText {
  /// How many objects and arrays may be nested.
  package static let maximumDepth = 512

  /// Checks that `bytes` are exactly one JSON value, with or without white space around it.
  package static func validate(_ bytes: UnsafeRawBufferPointer) throws(JSONTextError) {
    var scanner = JSONScanner(bytes)
    try scanner.skipValue()
    try scanner.expectEnd()
  }

  /// Checks that `bytes` are exactly one JSON value, with or without white space around it.
  package static func validate(_ bytes: [UInt8]) throws(JSONTextError) {
    try bytes.withUnsafeBytes { bytes in Result { () throws(JSONTextError) in try validate(bytes) } }.get()
  }

  /// Whether `bytes` are exactly one JSON value.
  package static func isValid(_ bytes: [UInt8]) -> Bool { (try? validate(bytes)) != nil }

  // MARK: - Members

  /// A member of an object: its name, decoded, and where its value's text stands.
  package struct Member: Hashable, Sendable {
    package let key: String
    /// Offsets in the object's bytes, without the white space around the value.
    package let value: Range<Int>
  }

  /// The members of the JSON object `bytes`, in their order. The whole text is checked on the way.
  ///
  /// - Throws: the text is not valid JSON, not an object, or names a member twice.
  package static func topLevelMembers(
    of bytes: UnsafeRawBufferPointer, valueDepth: Int = maximumDepth - 1
  ) throws(JSONTextError) -> [Member] {
    var members: [Member] = []
    // Most objects have no more: one allocation.
    members.reserveCapacity(8)
    try topLevelMembers(of: bytes, into: &members, valueDepth: valueDepth)
    return members
  }

  /// As ``topLevelMembers(of:)``, for text in an array.
  package static func topLevelMembers(
    of bytes: [UInt8], valueDepth: Int = maximumDepth - 1
  ) throws(JSONTextError) -> [Member] {
    try bytes.withUnsafeBytes { bytes in
      Result { () throws(JSONTextError) in try topLevelMembers(of: bytes, valueDepth: valueDepth) }
    }.get()
  }

  /// As ``topLevelMembers(of:)``, replacing the content of `members`: its memory is used again.
  ///
  /// - Parameter valueDepth: How deep each value may be nested.
  package static func topLevelMembers(
    of bytes: UnsafeRawBufferPointer, into members: inout [Member], valueDepth: Int = maximumDepth - 1
  ) throws(JSONTextError) {
    members.removeAll(keepingCapacity: true)
    var names = SeenNames()
    var scanner = JSONScanner(bytes)
    scanner.skipWhitespace()
    try scanner.take(UInt8(ascii: "{"), else: .object)
    scanner.skipWhitespace()
    if scanner.byte == UInt8(ascii: "}") {
      try scanner.take(UInt8(ascii: "}"), else: .commaOrBrace)
      return try scanner.expectEnd()
    }
    while true {
      scanner.skipWhitespace()
      guard scanner.byte == UInt8(ascii: "\"") else { throw scanner.failure(.key) }
      let start = scanner.index
      let hasEscapes = try scanner.skipString()
      let raw = UnsafeRawBufferPointer(rebasing: bytes[start..<scanner.index])
      let plain = UnsafeRawBufferPointer(rebasing: bytes[start + 1..<scanner.index - 1])
      let key = hasEscapes ? try string(raw) : String(decoding: plain, as: UTF8.self)
      guard names.insert(key, among: members) else {
        throw JSONTextError(offset: start, expected: .uniqueKey)
      }
      scanner.skipWhitespace()
      try scanner.take(UInt8(ascii: ":"), else: .colon)
      scanner.skipWhitespace()
      let value = scanner.index
      try scanner.skipValue(depthLimit: valueDepth)
      members.append(Member(key: key, value: value..<scanner.index))
      scanner.skipWhitespace()
      if scanner.byte == UInt8(ascii: ",") {
        try scanner.take(UInt8(ascii: ","), else: .commaOrBrace)
      } else {
        try scanner.take(UInt8(ascii: "}"), else: .commaOrBrace)
        return try scanner.expectEnd()
      }
    }
  }

  /// Names are compared byte by byte: String's own equality would take two spellings of é for one.
  private struct SeenNames {
    private var many: Set<[UInt8]> = []

    mutating func insert(_ name: String, among members: [Member]) -> Bool {
      // Few names: comparing each is faster than hashing.
      if members.count < 16 {
        return !members.contains { $0.key == name && $0.key.utf8.elementsEqual(name.utf8) }
      }
      if many.isEmpty { many = Set(members.map { Array($0.key.utf8) }) }
      return many.insert(Array(name.utf8)).inserted
    }
  }

  // MARK: - Single values

  package enum Kind: Hashable, Sendable { case object, array, string, number, boolean, null }

  /// What the text of a checked value is, by its first byte. Nil for text that cannot be a value.
  package static func kind(of raw: UnsafeRawBufferPointer) -> Kind? {
    guard let first = raw.first else { return nil }
    return switch first {
    case UInt8(ascii: "{"): .object
    case UInt8(ascii: "["): .array
    case UInt8(ascii: "\""): .string
    case UInt8(ascii: "t"), UInt8(ascii: "f"): .boolean
    case UInt8(ascii: "n"): .null
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): .number
    default: nil
    }
  }

  /// Whether `bytes` are exactly one JSON number, and so may stand in JSON without quotes.
  package static func isNumber(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard kind(of: bytes) == .number else { return false }
    var scanner = JSONScanner(bytes)
    return (try? scanner.skipValue()) != nil && scanner.index == bytes.count
  }

  /// The String that the text `raw` of a JSON string stands for; `raw` includes its quotes.
  package static func string(_ raw: UnsafeRawBufferPointer) throws(JSONTextError) -> String {
    var decoded: [UInt8] = []
    try appendDecodedString(raw, to: &decoded)
    return String(decoding: decoded, as: UTF8.self)
  }

  /// Appends what the text `raw` of a JSON string stands for, as UTF-8; `raw` includes its quotes.
  /// On an error, `output` is as before.
  package static func appendDecodedString(
    _ raw: UnsafeRawBufferPointer, to output: inout [UInt8]
  ) throws(JSONTextError) {
    var scanner = JSONScanner(raw)
    guard scanner.byte == UInt8(ascii: "\"") else { throw scanner.failure(.string) }
    let hasEscapes = try scanner.skipString()
    guard scanner.index == raw.count else { throw scanner.failure(.endOfText) }
    let content = UnsafeRawBufferPointer(rebasing: raw[1..<raw.count - 1])
    guard hasEscapes else { return output.append(contentsOf: content) }

    output.reserveCapacity(output.count + content.count)
    var position = 0
    while position < content.count {
      let rest = UnsafeRawBufferPointer(rebasing: content[position...])
      let run = rest.firstIndex(of: UInt8(ascii: "\\")) ?? rest.count
      output.append(contentsOf: UnsafeRawBufferPointer(rebasing: rest[..<run]))
      position += run
      guard position < content.count else { break }
      var escape = JSONScanner(UnsafeRawBufferPointer(rebasing: content[position...]))
      // The scan above has accepted every escape, so this throws nothing new.
      output.append(contentsOf: UTF8.encode(try escape.takeEscape()) ?? UTF8.encodedReplacementCharacter)
      position += escape.index
    }
  }

  /// The integer that the text `raw` of a JSON number stands for.
  ///
  /// - Throws: it is no number, has a fraction or an exponent, or does not fit in 64 bits.
  package static func integer(_ raw: UnsafeRawBufferPointer) throws(JSONTextError) -> Int {
    guard isNumber(raw) else { throw JSONTextError(offset: 0, expected: .integer) }
    let isNegative = raw.first == UInt8(ascii: "-")
    var value = 0
    for index in (isNegative ? 1 : 0)..<raw.count {
      let digit = raw[index] &- UInt8(ascii: "0")
      guard digit < 10 else { throw JSONTextError(offset: index, expected: .integer) }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      // Towards the sign, so that the smallest Int fits too.
      let (sum, more) =
        isNegative
        ? product.subtractingReportingOverflow(Int(digit)) : product.addingReportingOverflow(Int(digit))
      guard !overflow, !more else { throw JSONTextError(offset: 0, expected: .integer) }
      value = sum
    }
    return value
  }

  // MARK: - Comparing

  /// Whether two texts are the same JSON, whatever the order of members, and of the elements of arrays: a Swift Set has
  /// none. Numbers and strings are compared as they are written.
  package static func isSame(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    left == right || normalized(left) == normalized(right)
  }

  private static func normalized(_ text: [UInt8]) -> [UInt8] {
    let text = compacted(text)
    switch text.first {
    case UInt8(ascii: "{"):
      guard let members = try? topLevelMembers(of: text) else { return text }
      let parts = members.map { Array($0.key.utf8) + [0] + normalized(Array(text[$0.value])) }
      return Array("{".utf8) + Array(parts.sorted(by: { $0.lexicographicallyPrecedes($1) }).joined(separator: [0, 0]))
    case UInt8(ascii: "["):
      guard let elements = try? elements(of: text) else { return text }
      let parts = elements.map { normalized(Array(text[$0])) }
      return Array("[".utf8) + Array(parts.sorted(by: { $0.lexicographicallyPrecedes($1) }).joined(separator: [0, 0]))
    default: return text
    }
  }

  /// Where the elements of the JSON array `bytes` stand.
  package static func elements(of bytes: [UInt8]) throws(JSONTextError) -> [Range<Int>] {
    try bytes.withUnsafeBytes { bytes in Result { () throws(JSONTextError) in try elements(of: bytes) } }.get()
  }

  package static func elements(of bytes: UnsafeRawBufferPointer) throws(JSONTextError) -> [Range<Int>] {
    var scanner = JSONScanner(bytes)
    var elements: [Range<Int>] = []
    scanner.skipWhitespace()
    try scanner.take(UInt8(ascii: "["), else: .value)
    scanner.skipWhitespace()
    while scanner.byte != UInt8(ascii: "]") {
      if !elements.isEmpty { try scanner.take(UInt8(ascii: ","), else: .commaOrBracket) }
      scanner.skipWhitespace()
      let start = scanner.index
      try scanner.skipValue()
      elements.append(start..<scanner.index)
      scanner.skipWhitespace()
    }
    return elements
  }

  // MARK: - One line

  /// `bytes`, valid JSON, without the white space and line ends between its tokens: one line.
  /// Text that has none is returned as it is.
  package static func compacted(_ bytes: [UInt8]) -> [UInt8] {
    bytes.withUnsafeBytes { text -> [UInt8]? in
      guard firstWhitespace(in: text, from: 0) < text.count else { return nil }
      var result: [UInt8] = []
      appendCompacted(text, to: &result)
      return result
    } ?? bytes
  }

  /// Appends `bytes`, valid JSON, without the white space and line ends between its tokens.
  package static func appendCompacted(_ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
    output.reserveCapacity(output.count + bytes.count)
    var start = 0
    while start < bytes.count {
      let end = firstWhitespace(in: bytes, from: start)
      output.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
      start = end
      while start < bytes.count, isWhitespace(bytes[start]) { start += 1 }
    }
  }

  /// The first white space outside of strings from `start` (itself outside), or the end. Never fails: the
  /// text was checked, and if it was not, the result is as wrong as the text.
  private static func firstWhitespace(in bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
    var index = start
    while index < bytes.count {
      let byte = bytes[index]
      if isWhitespace(byte) { return index }
      index += 1
      guard byte == UInt8(ascii: "\"") else { continue }
      string: while index < bytes.count {
        index = PlainRun.end(in: bytes, from: index)
        guard index < bytes.count else { break }
        switch bytes[index] {
        case UInt8(ascii: "\""):
          index += 1
          break string
        case UInt8(ascii: "\\"): index += 2
        default: index += 1
        }
      }
    }
    return bytes.count
  }

  @inline(__always)
  private static func isWhitespace(_ byte: UInt8) -> Bool {
    byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09
  }
}
