import CSodium

/// Memory for a secret text: kept out of swap and core dumps where the system allows, zeroed when given back.
struct LockedBuffer: ~Copyable {
  let address: UnsafeMutableRawPointer
  let count: Int

  var bytes: UnsafeMutableRawBufferPointer { UnsafeMutableRawBufferPointer(start: address, count: count) }

  init(count: Int) {
    CryptoLibrary.requireStarted()
    guard let address = sodium_malloc(count) else { fatalError("out of memory for \(count) locked bytes") }
    self.address = address
    self.count = count
  }

  deinit { sodium_free(address) }
}
