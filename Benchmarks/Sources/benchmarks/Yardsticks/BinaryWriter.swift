/// Writes PostgreSQL's binary formats: arrays of parameters, and the rows of a COPY.
struct BinaryWriter {
  private(set) var bytes: [UInt8] = []

  init(capacity: Int) { bytes.reserveCapacity(capacity) }

  mutating func append(_ value: some FixedWidthInteger) {
    withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }

  /// A value with its length before it: an element of an array, a column of a row.
  mutating func appendField(_ value: some FixedWidthInteger) {
    append(Int32(value.bitWidth / 8))
    append(value)
  }

  mutating func appendField(_ value: [UInt8]) {
    append(Int32(value.count))
    append(value)
  }

  mutating func appendNull() { append(Int32(-1)) }

  mutating func beginArray(of elementType: Int32, count: Int) {
    for number in [1, 0, elementType, Int32(count), 1] { append(number) }
  }

  mutating func beginCopy() {
    append(Array("PGCOPY\n".utf8) + [0xFF, 0x0D, 0x0A, 0x00])
    append(Int32(0))
    append(Int32(0))
  }

  mutating func endCopy() { append(Int16(-1)) }

  /// 16 bytes for an event id, different for each pair of numbers. No index of a yardstick's table holds them.
  static func eventID(_ first: Int, _ second: Int) -> [UInt8] {
    var writer = BinaryWriter(capacity: 16)
    writer.append(Int64(first))
    writer.append(Int64(second))
    return writer.bytes
  }
}
