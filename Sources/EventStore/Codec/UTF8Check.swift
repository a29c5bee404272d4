/// Whether bytes are well-formed UTF-8 (Unicode 15, table 3-7: no overlong forms, no surrogates, at most
/// U+10FFFF).
package enum UTF8Check {
  /// The offset of the first byte that does not begin or continue a well-formed character; nil if all are
  /// well formed.
  package static func firstInvalidByte(in bytes: UnsafeRawBufferPointer) -> Int? {
    let count = bytes.count
    var index = 0
    while index < count {
      while index + 8 <= count,
        bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
      {
        index += 8
      }
      guard index < count else { break }
      if bytes[index] < 0x80 {
        index += 1
        continue
      }
      let length = sequenceLength(in: bytes, at: index)
      guard length > 0 else { return index }
      index += length
    }
    return nil
  }

  /// The length in bytes of the well-formed character at `index`, which must be inside `bytes`; 0 if there is
  /// none.
  @inline(__always)
  static func sequenceLength(in bytes: UnsafeRawBufferPointer, at index: Int) -> Int {
    let first = bytes[index]
    if first < 0x80 { return 1 }
    let left = bytes.count - index
    if first < 0xC2 || first > 0xF4 || left < 2 { return 0 }
    let second = bytes[index + 1]
    if first < 0xE0 { return second & 0xC0 == 0x80 ? 2 : 0 }
    let lowest: UInt8 = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80
    let highest: UInt8 = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF
    guard second >= lowest, second <= highest, left >= 3, bytes[index + 2] & 0xC0 == 0x80 else { return 0 }
    if first < 0xF0 { return 3 }
    return left >= 4 && bytes[index + 3] & 0xC0 == 0x80 ? 4 : 0
  }
}
