import CSodium
import Synchronization

/// Locked memory for keys, shared by all of the process.
///
/// One key takes a slot of 544 bytes: its AES key schedule (512 bytes, 16-byte aligned) and the key itself
/// (32). Slots lie in slabs that libsodium keeps out of core dumps, between guard pages, and locks in memory,
/// so that they reach no swap. A slab stays when its slots are free: a process needs about as much again
/// later.
package enum KeyArena {
  static let slotSize = 544
  /// 64 KiB with the 16 bytes that `sodium_malloc` puts before a slab.
  private static let slotsPerSlab = 120

  /// A slot, owned by whoever took it.
  ///
  /// Sendable: an address, no more. Its one owner (``SecretKey``) writes the memory before anyone else sees
  /// it.
  struct Slot: @unchecked Sendable {
    let address: UnsafeMutableRawPointer
  }

  private struct State: Sendable {
    var free: [Slot] = []
    var inUse = 0
    var shortfall = 0
  }

  private static let state = Mutex(State())

  /// Bytes of key memory that the system refused to lock: they may reach the swap. 0 is as it should be; more
  /// than 0 says that `RLIMIT_MEMLOCK` (`ulimit -l`) is too low for the number of keys in memory.
  package static var lockedMemoryShortfall: Int { state.withLock { $0.shortfall } }

  /// Keys in memory now, master keys included.
  package static var keysInMemory: Int { state.withLock { $0.inUse } }

  static func take() -> Slot {
    CryptoLibrary.requireStarted()
    return state.withLock { state in
      state.inUse += 1
      if let slot = state.free.popLast() { return slot }
      let size = slotSize * slotsPerSlab
      guard let slab = sodium_malloc(size) else { fatalError("out of memory for \(size) bytes of keys") }
      // sodium_malloc locks the slab, but does not tell when it could not: asking again does, and costs no
      // more.
      if sodium_mlock(slab, size) != 0 { state.shortfall += size }
      for index in (1..<slotsPerSlab).reversed() { state.free.append(Slot(address: slab + index * slotSize)) }
      return Slot(address: slab)
    }
  }

  static func giveBack(_ slot: Slot) {
    sodium_memzero(slot.address, slotSize)
    state.withLock { state in
      state.inUse -= 1
      state.free.append(slot)
    }
  }
}
