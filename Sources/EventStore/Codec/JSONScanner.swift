/// Walks over JSON bytes and checks them; builds nothing.
struct JSONScanner {
  let bytes: UnsafeRawBufferPointer
  private(set) var index = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// The byte at the index, or 0 at the end. A 0 is valid nowhere outside strings, so it never hides an
  /// error.
  @inline(__always)
  var byte: UInt8 { index < bytes.count ? bytes[index] : 0 }

  @inline(__always)
  func failure(_ expected: JSONTextError.Expectation) -> JSONTextError {
    JSONTextError(offset: index, expected: expected)
  }

  @inline(__always)
  mutating func skipWhitespace() {
    while index < bytes.count {
      let byte = bytes[index]
      guard byte <= 0x20, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return }
      index += 1
    }
  }

  @inline(__always)
  mutating func take(_ wanted: UInt8, else expected: JSONTextError.Expectation) throws(JSONTextError) {
    guard byte == wanted, index < bytes.count else { throw failure(expected) }
    index += 1
  }

  mutating func expectEnd() throws(JSONTextError) {
    skipWhitespace()
    guard index == bytes.count else { throw failure(.endOfText) }
  }

  /// Walks over one value. Nesting is counted, not recursed into, so no input can exhaust the stack.
  mutating func skipValue(depthLimit: Int = JSONText.maximumDepth) throws(JSONTextError) {
    var depth = 0
    // One bit a level: 1 = object, 0 = array.
    var levels = InlineArray<8, UInt64>(repeating: 0)
    values: while true {
      skipWhitespace()
      switch byte {
      case UInt8(ascii: "\""): _ = try skipString()
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        let isObject = byte == UInt8(ascii: "{")
        guard depth < depthLimit else { throw failure(.depth(atMost: JSONText.maximumDepth)) }
        let bit: UInt64 = 1 << UInt64(depth & 63)
        if isObject { levels[depth >> 6] |= bit } else { levels[depth >> 6] &= ~bit }
        index += 1
        skipWhitespace()
        if byte == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
          index += 1
        } else {
          depth += 1
          if isObject { try skipKey() }
          continue values
        }
      case UInt8(ascii: "t"): try skipWord(0x6575_7274, length: 4)
      case UInt8(ascii: "n"): try skipWord(0x6C6C_756E, length: 4)
      case UInt8(ascii: "f"): try skipWord(0x65_736C_6166, length: 5)
      case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): try skipNumber()
      default: throw failure(.value)
      }
      while depth > 0 {
        skipWhitespace()
        let isObject = levels[(depth - 1) >> 6] & (1 << UInt64((depth - 1) & 63)) != 0
        switch byte {
        case UInt8(ascii: ","):
          index += 1
          if isObject {
            skipWhitespace()
            try skipKey()
          }
          continue values
        case UInt8(ascii: "}") where isObject, UInt8(ascii: "]") where !isObject:
          index += 1
          depth -= 1
        default: throw failure(isObject ? .commaOrBrace : .commaOrBracket)
        }
      }
      return
    }
  }

  @inline(__always)
  private mutating func skipKey() throws(JSONTextError) {
    guard byte == UInt8(ascii: "\"") else { throw failure(.key) }
    _ = try skipString()
    skipWhitespace()
    try take(UInt8(ascii: ":"), else: .colon)
  }

  /// `word` holds the letters, the first in the lowest byte.
  private mutating func skipWord(_ word: UInt64, length: Int) throws(JSONTextError) {
    guard index + length <= bytes.count else { throw failure(.value) }
    for offset in 0..<length
    where bytes[index + offset] != UInt8(truncatingIfNeeded: word >> UInt64(offset * 8)) {
      throw failure(.value)
    }
    index += length
  }

  private mutating func skipNumber() throws(JSONTextError) {
    if byte == UInt8(ascii: "-") { index += 1 }
    if byte == UInt8(ascii: "0") {
      index += 1
      if isDigit(byte) { throw failure(.digit) }
    } else {
      try skipDigits()
    }
    if byte == UInt8(ascii: ".") {
      index += 1
      try skipDigits()
    }
    if byte | 0x20 == UInt8(ascii: "e") {
      index += 1
      if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { index += 1 }
      try skipDigits()
    }
  }

  @inline(__always)
  private mutating func skipDigits() throws(JSONTextError) {
    guard isDigit(byte) else { throw failure(.digit) }
    repeat { index += 1 } while isDigit(byte)
  }

  @inline(__always)
  private func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }

  /// Walks over the string that opens at the index. Returns whether it holds escapes.
  mutating func skipString() throws(JSONTextError) -> Bool {
    index += 1
    var hasEscapes = false
    while true {
      index = PlainRun.end(in: bytes, from: index)
      guard index < bytes.count else { throw failure(.closingQuote) }
      let byte = bytes[index]
      if byte == UInt8(ascii: "\"") {
        index += 1
        return hasEscapes
      } else if byte == UInt8(ascii: "\\") {
        hasEscapes = true
        _ = try takeEscape()
      } else if byte < 0x20 {
        throw failure(.escapedControlCharacter)
      } else {
        let length = UTF8Check.sequenceLength(in: bytes, at: index)
        guard length > 0 else { throw failure(.validUTF8) }
        index += length
      }
    }
  }

  /// Reads the escape whose backslash stands at the index.
  mutating func takeEscape() throws(JSONTextError) -> Unicode.Scalar {
    index += 1
    let letter = byte
    guard letter != UInt8(ascii: "u") else {
      index -= 1
      return try takeUnicodeEscape()
    }
    let scalar: Unicode.Scalar
    switch letter {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): scalar = Unicode.Scalar(letter)
    case UInt8(ascii: "n"): scalar = "\n"
    case UInt8(ascii: "t"): scalar = "\t"
    case UInt8(ascii: "r"): scalar = "\r"
    case UInt8(ascii: "b"): scalar = "\u{8}"
    case UInt8(ascii: "f"): scalar = "\u{c}"
    default: throw failure(.escape)
    }
    index += 1
    return scalar
  }

  /// RFC 8259 leaves the meaning of half a surrogate pair open; no database or String can hold it, so it is
  /// refused.
  private mutating func takeUnicodeEscape() throws(JSONTextError) -> Unicode.Scalar {
    let start = index
    let first = try takeCodeUnit()
    if let scalar = Unicode.Scalar(first) { return scalar }
    if first < 0xDC00, byte == UInt8(ascii: "\\"), index + 1 < bytes.count,
      bytes[index + 1] == UInt8(ascii: "u")
    {
      let second = try takeCodeUnit()
      if (0xDC00...0xDFFF).contains(second),
        let scalar = Unicode.Scalar(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
      {
        return scalar
      }
    }
    throw JSONTextError(offset: start, expected: .surrogatePair)
  }

  private mutating func takeCodeUnit() throws(JSONTextError) -> UInt32 {
    index += 2
    var value: UInt32 = 0
    for _ in 0..<4 {
      let digit: UInt8
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
      default: throw failure(.hexDigits)
      }
      value = value << 4 | UInt32(digit)
      index += 1
    }
    return value
  }
}

/// A run of bytes that may stand in a JSON string as they are and need no look: ASCII, no quote, backslash or
/// control.
enum PlainRun {
  /// The first offset from `start` on whose byte is not plain, or the end.
  @inline(__always)
  static func end(in bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
    var index = start
    let ones: UInt64 = 0x0101_0101_0101_0101
    // Eight bytes at a time. A borrow can mark a byte wrongly only above a rightly marked one: the lowest
    // mark holds.
    while index + 8 <= bytes.count {
      let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
      let quote = word ^ (ones &* 0x22)
      let backslash = word ^ (ones &* 0x5C)
      let marks =
        (((quote &- ones) & ~quote) | ((backslash &- ones) & ~backslash) | ((word &- ones &* 0x20) & ~word)
          | word)
        & (ones &* 0x80)
      if marks != 0 { return index + marks.trailingZeroBitCount >> 3 }
      index += 8
    }
    while index < bytes.count {
      let byte = bytes[index]
      if byte < 0x20 || byte >= 0x80 || byte == 0x22 || byte == 0x5C { break }
      index += 1
    }
    return index
  }
}
