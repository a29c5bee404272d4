public import FoundationEssentials
internal import Glibc

extension UUID {
  /// A new UUID of version 7 (RFC 9562): 48 bits of milliseconds since 1970, then 74 random bits. Later ones sort
  /// after earlier ones, to the millisecond.
  public static func v7() -> UUID {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    let milliseconds = UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
    // 12 random bytes, drawn in bulk: two system calls an event would cost more than the rest of this.
    var random: (UInt64, UInt32) = (0, 0)
    withUnsafeMutableBytes(of: &random) { bytes in
      if let base = bytes.baseAddress { NonceSource.next(into: base) }
    }
    let high = milliseconds << 16 | 0x7000 | UInt64(random.1) & 0x0FFF
    let low = 0x8000_0000_0000_0000 | random.0 & 0x3FFF_FFFF_FFFF_FFFF
    return withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
  }
}
