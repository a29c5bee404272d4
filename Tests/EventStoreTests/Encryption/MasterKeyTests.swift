import FoundationEssentials
import Testing

@testable import EventStore

@Suite("Master keys and data keys") struct MasterKeyTests {
  let master: MasterKey
  let other: MasterKey

  init() throws {
    master = try .generate()
    other = try .generate()
  }

  @Test("the id follows from the key alone and looks like one")
  func id() throws {
    #expect(master.id != other.id)
    #expect(master.id.wholeMatch(of: /mk_[0-9a-f]{16}/) != nil)
    let copy = try MasterKey { target in
      master.withBytes { target.update(from: $0, count: 32) }
    }
    #expect(copy.id == master.id)
  }

  @Test("a wrapped data key opens what the key itself sealed")
  func wrap() throws {
    let key = DataKey.generate(subject: "account-42")
    let sealed = Envelope.seal(.json("{}"), key: key, context: EncryptionFixture.context)
    let wrapped = key.wrapped(by: master)
    #expect(wrapped.count == 61)
    #expect(wrapped != key.wrapped(by: master))
    let again = try DataKey(id: key.id, subject: key.subject, wrapped: wrapped, masterKey: master)
    #expect(try EncryptionFixture.open(sealed, key: again) == .json("{}"))
  }

  @Test("rotation: wrapped anew, it opens under the new master key and no longer needs the old")
  func rotation() throws {
    let key = DataKey.generate(subject: "account-42")
    let sealed = Envelope.seal(.json("{}"), key: key, context: EncryptionFixture.context)
    let old = try DataKey(
      id: key.id, subject: key.subject, wrapped: key.wrapped(by: master), masterKey: master)
    let new = try DataKey(id: key.id, subject: key.subject, wrapped: old.wrapped(by: other), masterKey: other)
    #expect(try EncryptionFixture.open(sealed, key: new) == .json("{}"))
  }

  @Test("a wrapped key opens only whole, for its id and subject, and under its master key")
  func bound() {
    let key = DataKey.generate(subject: "account-42")
    let wrapped = key.wrapped(by: master)
    func fails(_ wrapped: [UInt8], _ id: UUID, _ subject: String, _ master: MasterKey, _ what: String) {
      #expect(throws: PayloadError.dataKeyAltered(key: id.uuidString.lowercased()), "\(what)") {
        try DataKey(id: id, subject: subject, wrapped: wrapped, masterKey: master)
      }
    }
    fails(wrapped, UUID(), key.subject, master, "another id")
    fails(wrapped, key.id, "account-43", master, "another subject")
    fails(wrapped, key.id, "account-4", master, "a shorter subject")
    fails(wrapped, key.id, key.subject, other, "another master key")
    fails(wrapped + [0], key.id, key.subject, master, "a byte more")
    for count in 0..<wrapped.count { fails(Array(wrapped[..<count]), key.id, key.subject, master, "cut") }
    for index in wrapped.indices {
      var altered = wrapped
      altered[index] ^= 1
      fails(altered, key.id, key.subject, master, "byte \(index)")
    }
  }

  @Test("the proof holds for its key and its store only")
  func proof() {
    let store = UUID()
    let check = master.check(storeID: store)
    #expect(master.verifies(check: check, storeID: store))
    #expect(!other.verifies(check: check, storeID: store))
    #expect(!master.verifies(check: check, storeID: UUID()))
    for count in 0..<check.count { #expect(!master.verifies(check: Array(check[..<count]), storeID: store)) }
    for index in check.indices {
      var altered = check
      altered[index] ^= 1
      #expect(!master.verifies(check: altered, storeID: store))
    }
  }
}
