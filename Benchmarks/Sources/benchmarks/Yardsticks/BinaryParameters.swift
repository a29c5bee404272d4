import CLibpq

/// The parameters of a prepared statement in PostgreSQL's binary format, in memory that is used again for each call.
final class BinaryParameters {
  let count: Int
  let values: UnsafeMutablePointer<UnsafePointer<CChar>?>
  let lengths: UnsafeMutablePointer<Int32>
  let formats: UnsafeMutablePointer<Int32>
  private var storage: [UnsafeMutableRawBufferPointer]

  init(count: Int) {
    self.count = count
    values = .allocate(capacity: count)
    values.initialize(repeating: nil, count: count)
    lengths = .allocate(capacity: count)
    lengths.initialize(repeating: 0, count: count)
    formats = .allocate(capacity: count)
    formats.initialize(repeating: 1, count: count)
    storage = Array(repeating: UnsafeMutableRawBufferPointer(start: nil, count: 0), count: count)
  }

  deinit {
    values.deallocate()
    lengths.deallocate()
    formats.deallocate()
    for buffer in storage { buffer.deallocate() }
  }

  func set(_ index: Int, _ value: Int64) {
    withUnsafeBytes(of: value.bigEndian) { set(index, $0) }
  }

  func set(_ index: Int, _ bytes: [UInt8]) {
    bytes.withUnsafeBytes { set(index, $0) }
  }

  private func set(_ index: Int, _ bytes: UnsafeRawBufferPointer) {
    if storage[index].count < bytes.count {
      storage[index].deallocate()
      storage[index] = .allocate(byteCount: bytes.count * 2, alignment: 8)
      values[index] = UnsafeRawPointer(storage[index].baseAddress)?.assumingMemoryBound(to: CChar.self)
    }
    storage[index].copyMemory(from: bytes)
    lengths[index] = Int32(bytes.count)
  }
}
