/// Event types by name, with `*` for any characters.
///
/// Byte by byte, as the server does: an accent that is a character of its own belongs to the letter before it for Swift, and not
/// for PostgreSQL.
enum TypePattern {
  private static let any = UInt8(ascii: "*")

  static func isPattern(_ type: String) -> Bool { type.utf8.contains(any) }

  static func matches(_ type: String, _ pattern: String) -> Bool {
    let (type, pattern) = (type.utf8, pattern.utf8)
    var (place, wanted) = (type.startIndex, pattern.startIndex)
    // What stands behind the last `*`, and where it was looked for last.
    var again: (place: String.Index, wanted: String.Index)?
    while place < type.endIndex {
      if wanted < pattern.endIndex, pattern[wanted] == any {
        wanted = pattern.index(after: wanted)
        again = (place, wanted)
      } else if wanted < pattern.endIndex, pattern[wanted] == type[place] {
        (place, wanted) = (type.index(after: place), pattern.index(after: wanted))
      } else if let last = again {
        place = type.index(after: last.place)
        wanted = last.wanted
        again = (place, wanted)
      } else {
        return false
      }
    }
    return pattern[wanted...].allSatisfy { $0 == any }
  }

  /// The same for LIKE.
  static func like(_ pattern: String) -> String {
    var bytes: [UInt8] = []
    for byte in pattern.utf8 {
      switch byte {
      case any: bytes.append(UInt8(ascii: "%"))
      case UInt8(ascii: "\\"), UInt8(ascii: "%"), UInt8(ascii: "_"): bytes += [UInt8(ascii: "\\"), byte]
      default: bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
