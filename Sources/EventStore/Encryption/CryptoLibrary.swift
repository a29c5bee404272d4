import CSodium

/// libsodium, started once for the process.
enum CryptoLibrary {
  private static let state: Result<Void, EncryptionError> =
    if sodium_init() < 0 {
      .failure(.libraryUnavailable)
    } else if crypto_aead_aes256gcm_is_available() == 0 {
      .failure(.aesUnavailable)
    } else {
      .success(())
    }

  /// Starts the library, or says why AES-256-GCM cannot be used here. No other algorithm takes its place.
  static func start() throws(EncryptionError) { try state.get() }

  /// For code that only runs where a key is in hand already. Without AES instructions the next call into the
  /// library would be an illegal instruction, so it ends here with the reason instead.
  static func requireStarted() {
    if case .failure(let error) = state { fatalError(error.description) }
  }
}
