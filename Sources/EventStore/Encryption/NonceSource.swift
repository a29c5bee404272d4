import CSodium
import Glibc
import Synchronization

/// 96-bit random nonces for AES-GCM, drawn from the system 4 KiB at a time.
///
/// Random nonces allow 2^32 seals with one key (NIST SP 800-38D); a data key belongs to one subject, so that
/// no key comes near it.
///
/// A child of `fork` draws its own. A clone of the whole machine, or of the process's memory, does not know that it is one,
/// and draws those that the original draws: docs/threat-model.md says what to do.
enum NonceSource {
  private static let poolSize = 4096
  /// The first 16 bytes hold how many bytes are left, so that count and bytes share a page.
  private static let start = 16

  /// Sendable: the pointer is only used under the mutex that holds it.
  private struct Pool: @unchecked Sendable {
    /// nil: no pool is safe here, every nonce comes from the system.
    let page: UnsafeMutableRawPointer?
  }

  private static let pool = Mutex(Pool(page: makePage()))

  /// A child of `fork` must not draw the nonces that its parent draws. The kernel hands it this page zeroed,
  /// so that it finds no bytes left and draws its own.
  private static func makePage() -> UnsafeMutableRawPointer? {
    guard
      let page = mmap(nil, poolSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      page != MAP_FAILED
    else { return nil }
    guard madvise(page, poolSize, MADV_WIPEONFORK) == 0 else {
      munmap(page, poolSize)
      return nil
    }
    return page
  }

  /// Writes 12 bytes that were never handed out before.
  static func next(into target: UnsafeMutableRawPointer) {
    let size = SecretKey.nonceSize
    pool.withLock { pool in
      guard let page = pool.page else {
        randombytes_buf(target, size)
        return
      }
      var left = page.load(as: Int.self)
      if left < size {
        left = poolSize - start
        randombytes_buf(page + start, left)
      }
      let nonce = page + (start + left - size)
      target.copyMemory(from: nonce, byteCount: size)
      memset(nonce, 0, size)
      page.storeBytes(of: left - size, as: Int.self)
    }
  }
}
