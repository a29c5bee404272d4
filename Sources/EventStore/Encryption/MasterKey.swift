import CSodium
package import FoundationEssentials

/// A key that wraps data keys. It stays in the keyring and in the memory of this process; the database holds
/// only its ``id`` and what it wrapped.
public final class MasterKey: Sendable {
  /// `mk_` and 16 hexadecimal digits, derived from the key: the same key has the same id everywhere.
  public let id: String
  private let key: SecretKey

  private init(_ key: consuming SecretKey) {
    id = key.withBytes(Self.deriveID)
    self.key = key
  }

  /// A new key from the system's random numbers.
  ///
  /// - Throws: ``EncryptionError/aesUnavailable``, ``EncryptionError/libraryUnavailable``.
  package static func generate() throws(EncryptionError) -> MasterKey {
    try CryptoLibrary.start()
    return MasterKey(SecretKey.random())
  }

  /// A new key, where the library has started.
  convenience init(random: Void) { self.init(SecretKey.random()) }

  /// - Parameter fill: Writes the 32 bytes of the key into locked memory.
  package convenience init(
    filling fill: (UnsafeMutablePointer<UInt8>) throws(EncryptionError) -> Void
  ) throws(EncryptionError) {
    try CryptoLibrary.start()
    try self.init(SecretKey(filling: fill))
  }

  /// The 32 bytes of the key itself, to write it into a keyring. Do not let the pointer out of `body`.
  func withBytes<R>(_ body: (UnsafePointer<UInt8>) -> R) -> R { key.withBytes(body) }

  /// Keyed BLAKE2b of a fixed text, so that the id tells nothing about the key.
  private static func deriveID(_ key: UnsafePointer<UInt8>) -> String {
    let domain = Array("eventstore-master".utf8)
    var digest = [UInt8](repeating: 0, count: 16)
    _ = crypto_generichash(
      &digest, digest.count, domain, UInt64(domain.count), key, SecretKey.byteCount)
    let digits = Array("0123456789abcdef".utf8)
    var id = Array("mk_".utf8)
    for byte in digest.prefix(8) {
      id.append(digits[Int(byte >> 4)])
      id.append(digits[Int(byte & 15)])
    }
    return String(decoding: id, as: UTF8.self)
  }

  // MARK: Data keys

  // A wrapped key, frozen: format byte 1 | 12-byte nonce | 32-byte ciphertext | 16-byte tag. Additional data:
  // "eventstore key 1" | 16-byte key id | subject | master key id. The first two and the last have a fixed
  // length, so no two different bindings give the same bytes.
  static let wrappedSize = 1 + SecretKey.nonceSize + SecretKey.byteCount + SecretKey.tagSize

  /// Seals a data key and binds it to its id and its subject.
  func wrap(_ dataKey: borrowing SecretKey, keyID: UUID, subject: String) -> [UInt8] {
    dataKey.withBytes { sealed($0, count: SecretKey.byteCount, boundTo: keyBinding(keyID, subject)) }
  }

  /// - Throws: ``PayloadError/dataKeyAltered(key:)`` when the wrapped bytes, the id or the subject are not
  ///   those that were wrapped, or another master key wrapped them.
  func unwrap(_ wrapped: [UInt8], keyID: UUID, subject: String) throws(PayloadError) -> SecretKey {
    guard wrapped.count == Self.wrappedSize else { throw .dataKeyAltered(key: keyID.uuidString.lowercased()) }
    let binding = keyBinding(keyID, subject)
    return try SecretKey { (raw) throws(PayloadError) in
      guard opens(wrapped, boundTo: binding, into: raw) else {
        throw .dataKeyAltered(key: keyID.uuidString.lowercased())
      }
    }
  }

  private func keyBinding(_ keyID: UUID, _ subject: String) -> [UInt8] {
    var binding = Array("eventstore key 1".utf8)
    withUnsafeBytes(of: keyID.uuid) { binding.append(contentsOf: $0) }
    binding.append(contentsOf: subject.utf8)
    binding.append(contentsOf: id.utf8)
    return binding
  }

  // MARK: Proof

  // The proof, frozen: format byte 1 | 12-byte nonce | 16-byte ciphertext (of the store id) | 16-byte tag.
  // Additional data: "eventstore proof 1" | 16-byte store id | master key id.

  /// Bytes that a store keeps beside this key's id, and that only this key can make: see
  /// ``verifies(check:storeID:)``.
  package func check(storeID: UUID) -> [UInt8] {
    let plain = withUnsafeBytes(of: storeID.uuid) { Array($0) }
    return sealed(plain, count: plain.count, boundTo: proofBinding(storeID))
  }

  /// Whether this key made `check` for this store. A store refuses a key of which that is not true.
  package func verifies(check: [UInt8], storeID: UUID) -> Bool {
    let size = 16
    guard check.count == 1 + SecretKey.nonceSize + size + SecretKey.tagSize else { return false }
    var plain = [UInt8](repeating: 0, count: size)
    guard opens(check, boundTo: proofBinding(storeID), into: &plain) else { return false }
    return withUnsafeBytes(of: storeID.uuid) { $0.elementsEqual(plain) }
  }

  private func proofBinding(_ storeID: UUID) -> [UInt8] {
    var binding = Array("eventstore proof 1".utf8)
    withUnsafeBytes(of: storeID.uuid) { binding.append(contentsOf: $0) }
    binding.append(contentsOf: id.utf8)
    return binding
  }

  // MARK: What both have in common

  private static let format: UInt8 = 1

  private func sealed(_ plain: UnsafePointer<UInt8>, count: Int, boundTo binding: [UInt8]) -> [UInt8] {
    let size = 1 + SecretKey.nonceSize + count + SecretKey.tagSize
    return [UInt8](unsafeUninitializedCapacity: size) { target, initialized in
      guard let base = target.baseAddress else { return }
      base[0] = Self.format
      // From the system itself: see NonceSource on clones, whose nonces would give away what forges every wrapped key.
      randombytes_buf(base + 1, SecretKey.nonceSize)
      binding.withUnsafeBytes { binding in
        key.seal(
          plain, count: count, nonce: base + 1, additionalData: binding, to: base + 1 + SecretKey.nonceSize)
      }
      initialized = size
    }
  }

  /// - Parameter sealed: 29 bytes longer than `plain`; the callers have checked that.
  private func opens(
    _ sealed: [UInt8], boundTo binding: [UInt8], into plain: UnsafeMutablePointer<UInt8>
  ) -> Bool {
    guard sealed.first == Self.format else { return false }
    return sealed.withUnsafeBufferPointer { sealed in
      binding.withUnsafeBytes { binding in
        guard let base = sealed.baseAddress else { return false }
        let head = 1 + SecretKey.nonceSize
        return key.open(
          base + head, count: sealed.count - head, nonce: base + 1, additionalData: binding, to: plain)
      }
    }
  }
}
