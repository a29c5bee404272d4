/// What the machine gives to encryption: for the doctor.
package enum EncryptionSupport {
  /// Whether this CPU has the instructions for AES-256-GCM.
  package static var isAvailable: Bool { (try? Keyring.ephemeral()) != nil }

  /// Bytes of keys that could not be locked into memory.
  package static var lockedMemoryShortfall: Int { KeyArena.lockedMemoryShortfall }
}
