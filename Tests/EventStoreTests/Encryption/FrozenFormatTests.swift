import FoundationEssentials
import Testing

@testable import EventStore

/// Bytes that the first version wrote. Every later one must read them: change the code, never these.
@Suite("Frozen formats") struct FrozenFormatTests {
  static let storeID = UUID(uuid: (16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1))
  static let keyID = UUID(uuid: (1, 0x92, 3, 4, 5, 6, 0x70, 8, 0x80, 10, 11, 12, 13, 14, 15, 16))
  static let wrapped = """
    018f7f2f26709f1d7d1cf96b25c7e403b620df695a8dce006e62f840e3d79223c3ec2e2fffa5b38114472110549e4da9
    bbb3832dcabcfce23a7ed22525
    """
  static let check = """
    014031639986c53a0da0f208071de541661da888c1a7aba168e2391fa0ea1f18117158458c17b42d1581546b47
    """
  static let short = """
    01010192030405067008800a0b0c0d0e0f106bc774f995d049925b599f9bb3d975135e8f1e0a74e39b8503a90d0a169e
    52f0604577b5a7ba19eb0bbdc0c699ea27fa
    """
  static let long = """
    01110192030405067008800a0b0c0d0e0f108c1cff7df04e42eb96400257e78231fa5575fd74a1734186e309e532abee
    3d9a7b083f1845230de6e665d0662bfdcb41b24327b79cf220345953a90b6211c09e64a224
    """
  static let snapshot = """
    01000192030405067008800a0b0c0d0e0f10f90e2a68f330dfc5ff2795133abb6291adc7e9013429db0de1d7f35876c4
    85d5
    """
  static let longPayload = Payload(
    bytes: Array(String(repeating: #"{"amount":"1000.00"},"#, count: 100).utf8), content: .json)

  let master: MasterKey
  let key: DataKey

  init() throws {
    master = try Keyring(text: EncryptionFixture.bareKey.utf8, source: "the test").active
    key = try DataKey(
      id: Self.keyID, subject: "account-42", wrapped: EncryptionFixture.bytes(hex: Self.wrapped),
      masterKey: master)
  }

  @Test("the master key's proof holds")
  func proof() {
    #expect(master.verifies(check: EncryptionFixture.bytes(hex: Self.check), storeID: Self.storeID))
  }

  @Test("sealed payloads open")
  func sealed() throws {
    let short = EncryptionFixture.bytes(hex: Self.short)
    #expect(try EncryptionFixture.open(short, key: key) == .json(#"{"amount":"1000.00"}"#))
    let long = EncryptionFixture.bytes(hex: Self.long)
    #expect(try EncryptionFixture.open(long, key: key) == Self.longPayload)
  }

  @Test("a sealed snapshot without metadata and time opens")
  func snapshot() throws {
    let context = EnvelopeContext(
      purpose: .snapshot, eventID: EncryptionFixture.eventID, stream: "account-42", type: "Account",
      schemaVersion: 1)
    let opened = try EncryptionFixture.open(
      EncryptionFixture.bytes(hex: Self.snapshot), key: key, context: context)
    #expect(opened == Payload(bytes: [0, 1, 2, 255]))
  }

  @Test("a plaintext payload is its bytes after two")
  func plaintext() throws {
    let envelope: [UInt8] = [0, 1] + Array("{}".utf8)
    #expect(Envelope.plaintext(.json("{}")) == envelope)
    #expect(try EncryptionFixture.open(envelope, key: nil) == .json("{}"))
  }
}
