/// The header `traceparent` (W3C Trace Context, 3.2), which says which trace a request is part of.
enum TraceParent {
  /// Whether it is one of version 00, or looks like it. What an event's metadata say is any text, and a header must have no line end
  /// in it.
  static func isValid(_ text: String) -> Bool {
    let bytes = Array(text.utf8)
    guard bytes.count == 55, bytes[0] != UInt8(ascii: "f") || bytes[1] != UInt8(ascii: "f") else { return false }
    return bytes.enumerated().allSatisfy { place, byte in
      switch place {
      case 2, 35, 52: byte == UInt8(ascii: "-")
      default:
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
      }
    }
  }
}
