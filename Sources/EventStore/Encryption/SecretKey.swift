import CSodium

/// An AES-256-GCM key in locked memory, ready to seal and open. Zeroed when it goes.
///
/// Sendable: the memory behind it is written in `init` and in `deinit` only, and nobody else has its address.
struct SecretKey: ~Copyable, @unchecked Sendable {
  static let byteCount = 32
  static let nonceSize = 12
  static let tagSize = 16

  private let slot: KeyArena.Slot

  /// - Parameter fill: Writes the 32 bytes of the key, straight into locked memory.
  init<Failure: Error>(
    filling fill: (UnsafeMutablePointer<UInt8>) throws(Failure) -> Void
  ) throws(Failure) {
    let slot = KeyArena.take()
    do throws(Failure) {
      try fill(Self.raw(in: slot))
    } catch {
      KeyArena.giveBack(slot)
      throw error
    }
    crypto_aead_aes256gcm_beforenm(Self.schedule(in: slot), Self.raw(in: slot))
    self.slot = slot
  }

  deinit { KeyArena.giveBack(slot) }

  /// A new key from the system's random numbers.
  static func random() -> SecretKey {
    SecretKey { raw in randombytes_buf(raw, byteCount) }
  }

  /// The 32 bytes of the key itself. Do not let the pointer out of `body`.
  borrowing func withBytes<R>(_ body: (UnsafePointer<UInt8>) -> R) -> R {
    body(Self.raw(in: slot))
  }

  /// Seals `count` bytes at `message` and writes them, then the 16-byte tag, to `output`, which may be
  /// `message`.
  @inline(__always)
  borrowing func seal(
    _ message: UnsafePointer<UInt8>?, count: Int, nonce: UnsafePointer<UInt8>,
    additionalData: UnsafeRawBufferPointer, to output: UnsafeMutablePointer<UInt8>
  ) {
    // It can only fail by a message of 64 GiB, and then libsodium itself ends the process.
    _ = crypto_aead_aes256gcm_encrypt_afternm(
      output, nil, message, UInt64(count),
      additionalData.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt64(additionalData.count), nil,
      nonce,
      Self.schedule(in: slot))
  }

  /// Opens `count` bytes (ciphertext and tag) and writes `count - 16` bytes to `output`.
  ///
  /// - Returns: `false` when ciphertext, tag, nonce or additional data are not those that were sealed; the
  ///   output holds nothing then.
  @inline(__always)
  borrowing func open(
    _ sealed: UnsafePointer<UInt8>, count: Int, nonce: UnsafePointer<UInt8>,
    additionalData: UnsafeRawBufferPointer, to output: UnsafeMutablePointer<UInt8>?
  ) -> Bool {
    crypto_aead_aes256gcm_decrypt_afternm(
      output, nil, nil, sealed, UInt64(count),
      additionalData.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt64(additionalData.count), nonce,
      Self.schedule(in: slot)) == 0
  }

  private static func schedule(in slot: KeyArena.Slot) -> UnsafeMutablePointer<crypto_aead_aes256gcm_state> {
    slot.address.assumingMemoryBound(to: crypto_aead_aes256gcm_state.self)
  }

  private static func raw(in slot: KeyArena.Slot) -> UnsafeMutablePointer<UInt8> {
    (slot.address + 512).assumingMemoryBound(to: UInt8.self)
  }
}
