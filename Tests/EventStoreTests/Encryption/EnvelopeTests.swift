import FoundationEssentials
import TestSupport
import Testing

@testable import EventStore

@Suite("Envelope") struct EnvelopeTests {
  let key = DataKey.generate(subject: "account-42")

  static let sizes = [
    0, 1, 15, 16, 17, 63, 127, 128, 129, 255, 256, 1023, 1024, 1025, 4096, 65_535, 65_536, 1_000_003,
  ]

  @Test("what was sealed opens, whatever its size, content and form", arguments: sizes, [false, true])
  func roundTrip(size: Int, compressible: Bool) throws {
    var numbers = SeededNumbers(seed: UInt64(size))
    let bytes = compressible ? numbers.text(size) : numbers.bytes(size)
    for content in [Payload.Content.bytes, .json] {
      for compress in [false, true] {
        let payload = Payload(bytes: bytes, content: content)
        let sealed = Envelope.seal(payload, key: key, context: EncryptionFixture.context, compress: compress)
        #expect(try EncryptionFixture.header(of: sealed) == .sealed(keyID: key.id))
        #expect(try EncryptionFixture.open(sealed, key: key) == payload)

        let plain = Envelope.plaintext(payload, compress: compress)
        #expect(try EncryptionFixture.header(of: plain) == .plaintext)
        #expect(try EncryptionFixture.open(plain, key: nil) == payload)
      }
    }
  }

  @Test("random contexts open, over strings and over borrowed bytes alike", arguments: 0..<50)
  func contexts(seed: Int) throws {
    var numbers = SeededNumbers(seed: UInt64(seed))
    func string(_ most: Int) -> String {
      String(
        String.UnicodeScalarView(
          (0..<Int.random(in: 1...most, using: &numbers)).map { _ in
            ["a", "é", "-", "猫", "🐈", "\0"].randomElement(using: &numbers) ?? "a"
          }))
    }
    let context = EnvelopeContext(
      purpose: Bool.random(using: &numbers) ? .event : .snapshot, eventID: UUID(), stream: string(200),
      type: string(60), schemaVersion: Int.random(in: 1...Int(Int32.max), using: &numbers),
      metadata: Bool.random(using: &numbers) ? numbers.bytes(Int.random(in: 0...5000, using: &numbers)) : nil,
      occurredAt: Bool.random(using: &numbers) ? Int64.random(in: .min ... .max, using: &numbers) : nil)
    let payload = Payload(bytes: numbers.bytes(300), content: .json)

    let sealed = Envelope.seal(payload, key: key, context: context)
    #expect(try EncryptionFixture.open(sealed, key: key, context: context) == payload)

    let opened = Array(context.stream.utf8).withUnsafeBytes { stream in
      Array(context.type.utf8).withUnsafeBytes { type in
        (context.metadata ?? []).withUnsafeBytes { metadata in
          sealed.withUnsafeBytes { sealed in
            let view = EnvelopeContextView(
              purpose: context.purpose, eventID: context.eventID, stream: stream, type: type,
              schemaVersion: context.schemaVersion, metadata: context.metadata == nil ? nil : metadata,
              occurredAt: context.occurredAt)
            return Result { () throws(PayloadError) in try Envelope.open(sealed, key: key, context: view) }
          }
        }
      }
    }
    #expect(try opened.get() == payload)
  }

  @Test("sealing the same payload twice gives different bytes, none of them the payload's")
  func ciphertext() {
    let payload = Payload.json(#"{"iban":"DE02120300000000202051"}"#)
    let first = Envelope.seal(payload, key: key, context: EncryptionFixture.context)
    let second = Envelope.seal(payload, key: key, context: EncryptionFixture.context)
    #expect(first.count == payload.bytes.count + Envelope.overhead)
    #expect(first[..<18] == second[..<18])
    #expect(first[18...] != second[18...])
    #expect(!String(decoding: first, as: UTF8.self).contains("iban"))
  }

  @Test("a key is needed, and it must be the one that the envelope names")
  func otherKey() throws {
    let sealed = Envelope.seal(.json("{}"), key: key, context: EncryptionFixture.context)
    let missing = PayloadError.dataKeyMissing(key: key.id.uuidString.lowercased())
    #expect(throws: missing) { try EncryptionFixture.open(sealed, key: nil) }
    #expect(throws: missing) {
      try EncryptionFixture.open(sealed, key: DataKey.generate(subject: "account-42"))
    }
  }

  @Test("a plaintext envelope does not pass where a sealed one is expected")
  func downgrade() {
    let plain = Envelope.plaintext(.json("{}"))
    #expect(throws: PayloadError.altered) { try EncryptionFixture.open(plain, key: key) }
  }

  @Test("many tasks seal and open with one key at once")
  func concurrency() async {
    let failures = await withTaskGroup(of: Int.self) { group in
      for seed in 0..<16 {
        group.addTask { [key] in
          var numbers = SeededNumbers(seed: UInt64(seed))
          var failures = 0
          for _ in 0..<200 {
            let payload = Payload(bytes: numbers.text(Int.random(in: 0...3000, using: &numbers)))
            let sealed = Envelope.seal(payload, key: key, context: EncryptionFixture.context)
            if (try? EncryptionFixture.open(sealed, key: key)) != payload { failures += 1 }
          }
          return failures
        }
      }
      return await group.reduce(0, +)
    }
    #expect(failures == 0)
  }
}
