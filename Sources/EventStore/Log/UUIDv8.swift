internal import CSodium
package import FoundationEssentials

extension UUID {
  /// A UUID of version 8 (RFC 9562) that depends on nothing but `bytes`: their BLAKE2b digest of 128 bits (RFC 7693).
  ///
  /// - Parameter key: Of 32 bytes; who does not have it cannot tell which bytes an id is of.
  package static func v8(digestOf bytes: [UInt8], key: UnsafePointer<UInt8>? = nil) -> UUID {
    var digest: (UInt64, UInt64) = (0, 0)
    return withUnsafeMutableBytes(of: &digest) { digest in
      if let target = digest.baseAddress?.assumingMemoryBound(to: UInt8.self) {
        crypto_generichash(target, 16, bytes, UInt64(bytes.count), key, key == nil ? 0 : SecretKey.byteCount)
      }
      digest[6] = digest[6] & 0x0F | 0x80
      digest[8] = digest[8] & 0x3F | 0x80
      return UUID(uuid: digest.loadUnaligned(as: uuid_t.self))
    }
  }
}
