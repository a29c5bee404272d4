/// Writes JSON into a byte buffer, which can be used again for the next text.
///
/// The caller places the commas and braces (``append(raw:)``); strings and numbers come out as valid JSON.
package struct JSONWriter: Sendable {
  package private(set) var bytes: [UInt8] = []

  package init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

  /// Empties the buffer and keeps its memory.
  package mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

  /// Takes the text out and starts anew.
  package mutating func take() -> [UInt8] {
    defer { bytes = [] }
    return bytes
  }

  /// Appends text that is JSON already: punctuation, a number's text, a value copied from other JSON.
  @inline(__always)
  package mutating func append(raw: UnsafeRawBufferPointer) { bytes.append(contentsOf: raw) }

  /// Appends text that is JSON already.
  package mutating func append(raw: [UInt8]) { bytes.append(contentsOf: raw) }

  /// Appends text that is JSON already.
  package mutating func append(raw: StaticString) {
    bytes.append(contentsOf: UnsafeBufferPointer(start: raw.utf8Start, count: raw.utf8CodeUnitCount))
  }

  /// Appends `string` as a JSON string with its quotes.
  package mutating func append(_ string: String) {
    var string = string
    // A String is always valid UTF-8, so this cannot fail.
    string.withUTF8 { try? append(stringBytes: UnsafeRawBufferPointer($0)) }
  }

  /// Appends the UTF-8 text `content` as a JSON string with its quotes.
  ///
  /// - Throws: ``JSONTextError/Expectation/validUTF8`` with the offset in `content`; the buffer is as before.
  package mutating func append(stringBytes content: UnsafeRawBufferPointer) throws(JSONTextError) {
    let before = bytes.count
    bytes.append(UInt8(ascii: "\""))
    var start = 0
    var index = PlainRun.end(in: content, from: 0)
    while index < content.count {
      let byte = content[index]
      if byte >= 0x80 {
        let length = UTF8Check.sequenceLength(in: content, at: index)
        guard length > 0 else {
          bytes.removeSubrange(before...)
          throw JSONTextError(offset: index, expected: .validUTF8)
        }
        index += length
      } else {
        bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: content[start..<index]))
        appendEscape(of: byte)
        index += 1
        start = index
      }
      index = PlainRun.end(in: content, from: index)
    }
    bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: content[start...]))
    bytes.append(UInt8(ascii: "\""))
  }

  /// Appends a member's name and its colon.
  package mutating func append(key: String) {
    append(key)
    bytes.append(UInt8(ascii: ":"))
  }

  package mutating func append(_ integer: Int) { bytes.appendDecimal(integer) }

  package mutating func append(_ boolean: Bool) { append(raw: boolean ? "true" : "false") }

  package mutating func appendNull() { append(raw: "null") }

  private mutating func appendEscape(of byte: UInt8) {
    bytes.append(UInt8(ascii: "\\"))
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(byte)
    case 0x0A: bytes.append(UInt8(ascii: "n"))
    case 0x0D: bytes.append(UInt8(ascii: "r"))
    case 0x09: bytes.append(UInt8(ascii: "t"))
    case 0x08: bytes.append(UInt8(ascii: "b"))
    case 0x0C: bytes.append(UInt8(ascii: "f"))
    default:
      append(raw: byte < 0x10 ? "u000" : "u001")
      let digit = byte & 0x0F
      bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
    }
  }
}

/// The parts of an object that are the same in every row of a table, encoded once: `{"name":` and `,"name":`.
package struct JSONObjectShape: Sendable {
  private let keys: [UInt8]
  private let ends: [Int]

  /// - Parameter names: the members' names, in their order.
  package init(names: [String]) {
    var writer = JSONWriter()
    var ends: [Int] = []
    for name in names {
      writer.append(raw: ends.isEmpty ? "{" : ",")
      writer.append(key: name)
      ends.append(writer.bytes.count)
    }
    keys = writer.bytes
    self.ends = ends
  }

  package var count: Int { ends.count }

  /// Appends everything that stands before the value of member `index`: for the first one, the brace as well.
  @inline(__always)
  package func appendOpening(of index: Int, to writer: inout JSONWriter) {
    let start = index == 0 ? 0 : ends[index - 1]
    let end = ends[index]
    keys.withUnsafeBytes { writer.append(raw: UnsafeRawBufferPointer(rebasing: $0[start..<end])) }
  }

  /// Appends what stands after the last value.
  package func appendEnd(to writer: inout JSONWriter) { writer.append(raw: ends.isEmpty ? "{}" : "}") }
}

extension [UInt8] {
  /// Appends `integer` in decimal digits.
  package mutating func appendDecimal(_ integer: Int) {
    if integer < 0 { append(UInt8(ascii: "-")) }
    var digits = InlineArray<20, UInt8>(repeating: 0)
    var first = 20
    var rest = integer.magnitude
    repeat {
      first -= 1
      digits[first] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    } while rest > 0
    for index in first..<20 { append(digits[index]) }
  }
}
