import Testing

@testable import EventStore

@Suite("Key memory and nonces") struct KeyMemoryTests {
  @Test("slots are aligned for AES and do not overlap")
  func slots() {
    let slots = (0..<500).map { _ in KeyArena.take() }
    let addresses = slots.map { UInt(bitPattern: $0.address) }.sorted()
    #expect(addresses.allSatisfy { $0 % 16 == 0 })
    #expect(zip(addresses, addresses.dropFirst()).allSatisfy { $1 - $0 >= UInt(KeyArena.slotSize) })
    for slot in slots { KeyArena.giveBack(slot) }
  }

  @Test("a slot is zeroed when it is given back")
  func zeroed() {
    let slots = (0..<500).map { _ in KeyArena.take() }
    for slot in slots {
      slot.address.initializeMemory(as: UInt8.self, repeating: 0xAA, count: KeyArena.slotSize)
    }
    for slot in slots { KeyArena.giveBack(slot) }
    // The last given back is the first taken again: no other test comes down to these meanwhile.
    for slot in slots.prefix(100) {
      let bytes = UnsafeRawBufferPointer(start: slot.address, count: KeyArena.slotSize)
      #expect(bytes.allSatisfy { $0 == 0 })
    }
  }

  @Test("the memory of keys that are gone is used again")
  func reuse() {
    for _ in 0..<10_000 { _ = DataKey.generate(subject: "account-42") }
    #expect(KeyArena.keysInMemory < 5_000)
  }

  @Test("no nonce comes twice, from any number of tasks")
  func nonces() async {
    let all = await withTaskGroup(of: [[UInt8]].self) { group in
      for _ in 0..<8 {
        group.addTask {
          (0..<5_000).map { _ in
            [UInt8](unsafeUninitializedCapacity: 12) { target, count in
              if let base = target.baseAddress { NonceSource.next(into: base) }
              count = 12
            }
          }
        }
      }
      return await group.reduce(into: Set<[UInt8]>()) { $0.formUnion($1) }
    }
    #expect(all.count == 40_000)
    #expect(!all.contains([UInt8](repeating: 0, count: 12)))
  }
}
