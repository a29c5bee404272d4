internal import CSodium
internal import PostgreSQL

/// Some of the 256 shards. An event's shard is the first byte of SHA-256 of its stream's name: fixed for ever.
package struct ShardSet: Hashable, Sendable {
  /// Of a stream's name, or of another key that divides work.
  package static func shard(of key: String) -> UInt8 {
    var digest = [UInt8](repeating: 0, count: crypto_hash_sha256_bytes())
    let bytes = Array(key.utf8)
    crypto_hash_sha256(&digest, bytes, UInt64(bytes.count))
    return digest[0]
  }

  private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

  package static let none = ShardSet()
  package static let all = {
    var all = ShardSet()
    all.words = (.max, .max, .max, .max)
    return all
  }()

  package init() {}

  package init(_ shards: some Sequence<UInt8>) { for shard in shards { insert(shard) } }

  /// - Parameter bits: 32 bytes as PostgreSQL has bit(256): shard 0 is the highest bit of the first.
  package init(bits: some Sequence<UInt8>) {
    for (index, byte) in bits.prefix(32).enumerated() {
      for bit in 0..<8 where byte & (0x80 >> UInt8(bit)) != 0 { insert(UInt8(index * 8 + bit)) }
    }
  }

  package var count: Int {
    words.0.nonzeroBitCount + words.1.nonzeroBitCount + words.2.nonzeroBitCount + words.3.nonzeroBitCount
  }
  package var isEmpty: Bool { count == 0 }
  package var shards: [UInt8] { (0...255).filter { contains($0) } }

  package func contains(_ shard: UInt8) -> Bool {
    let bit = UInt64(1) << UInt64(shard & 63)
    return switch shard >> 6 {
    case 0: words.0 & bit != 0
    case 1: words.1 & bit != 0
    case 2: words.2 & bit != 0
    default: words.3 & bit != 0
    }
  }

  package mutating func insert(_ shard: UInt8) {
    let bit = UInt64(1) << UInt64(shard & 63)
    switch shard >> 6 {
    case 0: words.0 |= bit
    case 1: words.1 |= bit
    case 2: words.2 |= bit
    default: words.3 |= bit
    }
  }

  package func union(_ other: ShardSet) -> ShardSet {
    var result = self
    result.words = (
      words.0 | other.words.0, words.1 | other.words.1, words.2 | other.words.2, words.3 | other.words.3
    )
    return result
  }

  package func isDisjoint(from other: ShardSet) -> Bool { subtracting(other) == self }

  package func subtracting(_ other: ShardSet) -> ShardSet {
    var result = self
    result.words = (
      words.0 & ~other.words.0, words.1 & ~other.words.1, words.2 & ~other.words.2, words.3 & ~other.words.3
    )
    return result
  }

  package static func == (left: Self, right: Self) -> Bool { left.words == right.words }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(words.0)
    hasher.combine(words.1)
    hasher.combine(words.2)
    hasher.combine(words.3)
  }
}

extension ShardSet: PostgreSQLEncodable {
  /// bit(256)
  package var typeOID: UInt32 { 1560 }

  package func encode(into bytes: inout [UInt8]) {
    bytes.appendBigEndian(Int32(256))
    for index in 0..<32 {
      var byte: UInt8 = 0
      for bit in 0..<8 where contains(UInt8(index * 8 + bit)) { byte |= 0x80 >> UInt8(bit) }
      bytes.append(byte)
    }
  }
}
