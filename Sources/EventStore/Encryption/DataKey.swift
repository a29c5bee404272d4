package import FoundationEssentials

/// The key that seals the payloads of one subject. The store keeps it wrapped by a master key.
package final class DataKey: Sendable {
  package let id: UUID
  package let subject: String
  let key: SecretKey

  private init(id: UUID, subject: String, key: consuming SecretKey) {
    self.id = id
    self.subject = subject
    self.key = key
  }

  /// A new key for a subject. Nothing can be opened with it again unless it is kept: see ``wrapped(by:)``.
  ///
  /// Traps where AES-256-GCM is unavailable: whoever has a master key has passed that check.
  package static func generate(subject: String, id: UUID = .v7()) -> DataKey {
    CryptoLibrary.requireStarted()
    return DataKey(id: id, subject: subject, key: SecretKey.random())
  }

  /// Opens a key that the store kept.
  ///
  /// - Throws: ``PayloadError/dataKeyAltered(key:)``: not what this master key wrapped for this id and
  ///   subject.
  package convenience init(
    id: UUID, subject: String, wrapped: [UInt8], masterKey: MasterKey
  ) throws(PayloadError) {
    try self.init(id: id, subject: subject, key: masterKey.unwrap(wrapped, keyID: id, subject: subject))
  }

  /// The key as the store keeps it: 61 bytes, of which only this master key can make use.
  package func wrapped(by masterKey: MasterKey) -> [UInt8] {
    masterKey.wrap(key, keyID: id, subject: subject)
  }
}
