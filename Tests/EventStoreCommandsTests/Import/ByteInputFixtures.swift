import TestSupport

@testable import EventStoreCommands

extension ByteInput {
  /// An input that hands out `bytes` in pieces of random sizes, at most `largest`.
  static func pieces(of bytes: [UInt8], largest: Int = 64, chunkSize: Int = 16, seed: UInt64 = 1) -> ByteInput {
    var random = SeededNumbers(seed: seed)
    var position = 0
    return ByteInput(
      name: "test",
      source: .closure { space in
        let count = min(space.count, bytes.count - position, Int.random(in: 1...largest, using: &random))
        space.copyBytes(from: bytes[position..<position + count])
        position += count
        return count
      }, chunkSize: chunkSize)
  }
}
