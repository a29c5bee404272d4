/// The positions below a cursor that are not done, as bytes: each as its distance from the one before it, in groups of seven
/// bits, the lowest first (LEB128, as in DWARF 5, section 7.6).
enum OpenPositions {
  static func encode(_ positions: [Int64]) -> [UInt8] {
    var bytes: [UInt8] = []
    var last: Int64 = 0
    for position in positions {
      var distance = UInt64(bitPattern: position - last)
      last = position
      while distance > 0x7F {
        bytes.append(UInt8(truncatingIfNeeded: distance) | 0x80)
        distance >>= 7
      }
      bytes.append(UInt8(distance))
    }
    return bytes
  }

  static func decode(_ bytes: some Sequence<UInt8>) -> [Int64] {
    var positions: [Int64] = []
    var (last, distance, shift): (Int64, UInt64, UInt64) = (0, 0, 0)
    for byte in bytes {
      distance |= UInt64(byte & 0x7F) << shift
      shift += 7
      guard byte & 0x80 == 0 else { continue }
      last &+= Int64(bitPattern: distance)
      positions.append(last)
      (distance, shift) = (0, 0)
    }
    return positions
  }
}
