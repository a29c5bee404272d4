import FoundationEssentials
import TestSupport
import Testing

@testable import EventStore

@Suite("Envelope, altered") struct EnvelopeAlterationTests {
  let key = DataKey.generate(subject: "account-42")

  static let payloads = [
    Payload(bytes: []), Payload.json(#"{"amount":"1000.00"}"#),
    Payload(bytes: Array(String(repeating: #"{"amount":"1000.00"},"#, count: 100).utf8), content: .json),
  ]

  @Test("no bit of a sealed envelope can be altered", arguments: payloads)
  func everyBit(payload: Payload) {
    let sealed = Envelope.seal(payload, key: key, context: EncryptionFixture.context)
    for index in sealed.indices {
      for bit in 0..<8 {
        var altered = sealed
        altered[index] ^= 1 << UInt8(bit)
        #expect(throws: PayloadError.self, "byte \(index), bit \(bit)") {
          try EncryptionFixture.open(altered, key: key)
        }
      }
    }
  }

  @Test("an altered nonce, ciphertext or tag is reported as altered")
  func reason() {
    let sealed = Envelope.seal(Self.payloads[1], key: key, context: EncryptionFixture.context)
    for index in 18..<sealed.count {
      var altered = sealed
      altered[index] ^= 0x80
      #expect(throws: PayloadError.altered) { try EncryptionFixture.open(altered, key: key) }
    }
  }

  static let changes: [(String, @Sendable (inout EnvelopeContext) -> Void)] = [
    ("purpose", { $0.purpose = .snapshot }),
    ("event id", { $0.eventID = UUID() }),
    ("stream", { $0.stream = "account-43" }),
    ("longer stream", { $0.stream += "0" }),
    ("empty stream", { $0.stream = "" }),
    ("type", { $0.type = "account.withdrawn" }),
    ("schema version", { $0.schemaVersion = 4 }),
    ("metadata", { $0.metadata = Array(#"{"traceparent":"00-02"}"#.utf8) }),
    ("empty metadata", { $0.metadata = [] }),
    ("no metadata", { $0.metadata = nil }),
    ("time", { $0.occurredAt = 1_700_000_000_000_001 }),
    ("time 0", { $0.occurredAt = 0 }),
    ("no time", { $0.occurredAt = nil }),
    (
      "a byte moved from stream to type",
      {
        $0.stream = "account-4"
        $0.type = "2account.deposited"
      }
    ),
  ]

  @Test("a payload opens in no other context", arguments: changes.indices)
  func context(change: Int) {
    let (name, apply) = Self.changes[change]
    var other = EncryptionFixture.context
    apply(&other)
    let payload = Self.payloads[1]
    let sealed = Envelope.seal(payload, key: key, context: EncryptionFixture.context)
    let sealedThere = Envelope.seal(payload, key: key, context: other)
    #expect(throws: PayloadError.altered, "\(name)") {
      try EncryptionFixture.open(sealed, key: key, context: other)
    }
    #expect(throws: PayloadError.altered, "\(name), the other way") {
      try EncryptionFixture.open(sealedThere, key: key)
    }
    #expect(throws: Never.self) { try EncryptionFixture.open(sealedThere, key: key, context: other) }
  }

  @Test("absent is not empty, and no time is not time 0")
  func absence() {
    var absent = EncryptionFixture.context
    absent.metadata = nil
    absent.occurredAt = nil
    for apply in [{ $0.metadata = [] }, { $0.occurredAt = 0 }] as [(inout EnvelopeContext) -> Void] {
      var other = absent
      apply(&other)
      let sealed = Envelope.seal(.json("1"), key: key, context: absent)
      #expect(throws: PayloadError.altered) { try EncryptionFixture.open(sealed, key: key, context: other) }
    }
  }

  @Test("every bit of every field of the context counts")
  func contextBits() {
    let context = EncryptionFixture.context
    let sealed = Envelope.seal(.json("{}"), key: key, context: context)
    var others: [EnvelopeContext] = []
    func bits(_ count: Int, _ set: (inout EnvelopeContext, Int, UInt8) -> Void) {
      for index in 0..<count {
        for bit in 0..<7 {
          var other = context
          set(&other, index, 1 << UInt8(bit))
          others.append(other)
        }
      }
    }
    func text(_ text: String, _ index: Int, _ mask: UInt8) -> String {
      var bytes = Array(text.utf8)
      bytes[index] ^= mask
      return String(decoding: bytes, as: UTF8.self)
    }
    bits(16) { other, index, mask in
      withUnsafeBytes(of: other.eventID.uuid) { old in
        var bytes = Array(old)
        bytes[index] ^= mask
        other.eventID = bytes.withUnsafeBytes { UUID(uuid: $0.loadUnaligned(as: uuid_t.self)) }
      }
    }
    bits(context.stream.utf8.count) { other, index, mask in other.stream = text(other.stream, index, mask) }
    bits(context.type.utf8.count) { other, index, mask in other.type = text(other.type, index, mask) }
    bits(context.metadata?.count ?? 0) { other, index, mask in other.metadata?[index] ^= mask }
    bits(4) { other, index, mask in other.schemaVersion ^= Int(mask) << (8 * index) }
    bits(8) { other, index, mask in other.occurredAt = (other.occurredAt ?? 0) ^ Int64(mask) << (8 * index) }
    for other in others {
      #expect(throws: PayloadError.altered, "\(other)") {
        try EncryptionFixture.open(sealed, key: key, context: other)
      }
    }
  }

  @Test("an envelope cut anywhere fails with a reason", arguments: payloads)
  func truncated(payload: Payload) {
    let sealed = Envelope.seal(payload, key: key, context: EncryptionFixture.context)
    for count in 0..<sealed.count {
      #expect(throws: PayloadError.self, "\(count) bytes") {
        try EncryptionFixture.open(Array(sealed[..<count]), key: key)
      }
    }
    let plain = Envelope.plaintext(payload)
    for count in 0..<plain.count where plain[1] >> 4 != 0 || count < 2 {
      #expect(throws: PayloadError.self, "\(count) bytes of plaintext") {
        try EncryptionFixture.open(Array(plain[..<count]), key: nil)
      }
    }
  }

  @Test("random bytes never open and never crash", arguments: 0..<20)
  func noise(seed: Int) {
    var numbers = SeededNumbers(seed: UInt64(seed))
    for _ in 0..<500 {
      var bytes = numbers.bytes(Int.random(in: 2...200, using: &numbers))
      bytes[0] = [0, 1, 1, 2].randomElement(using: &numbers) ?? 0
      bytes[1] = [0x00, 0x10, 0x11, 0x20].randomElement(using: &numbers) ?? 0
      _ = try? EncryptionFixture.header(of: bytes)
      _ = try? EncryptionFixture.open(bytes, key: nil)
      if bytes.count >= 18 {
        withUnsafeBytes(of: key.id.uuid) { bytes.replaceSubrange(2..<18, with: $0) }
      }
      #expect(throws: PayloadError.self) { try EncryptionFixture.open(bytes, key: key) }
    }
  }

  @Test(
    "what this version does not know is named",
    arguments: [
      ([2, 0], "algorithm 2"), ([0, 7], "content 7"), ([0, 0x20], "compression 2"), ([0], "found 1"),
    ]
      as [([UInt8], String)])
  func unknown(bytes: [UInt8], named: String) throws {
    let error = #expect(throws: PayloadError.self) { try EncryptionFixture.header(of: bytes) }
    guard case .malformed(let problem) = error else {
      Issue.record("expected .malformed, found \(String(describing: error))")
      return
    }
    #expect(problem.contains(named))
  }
}
