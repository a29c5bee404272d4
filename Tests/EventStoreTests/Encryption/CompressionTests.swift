import TestSupport
import Testing

@testable import EventStore

@Suite("Compression of payloads") struct CompressionTests {
  let key = DataKey.generate(subject: "account-42")

  @Test("a long payload is compressed, where that saves a tenth")
  func pays() throws {
    var numbers = SeededNumbers(seed: 1)
    let text = Payload(bytes: numbers.text(4000), content: .json)
    let sealed = Envelope.seal(text, key: key, context: EncryptionFixture.context)
    #expect(sealed.count < 2000)
    #expect(sealed[1] == 0x11)
    let plain = Envelope.plaintext(text)
    #expect(plain.count < 2000)
    #expect(plain[1] == 0x11)
  }

  @Test("a short payload, one that does not shrink, and one not to be compressed stay as they are")
  func doesNotPay() {
    var numbers = SeededNumbers(seed: 2)
    let short = Payload(bytes: numbers.text(1023))
    let noise = Payload(bytes: numbers.bytes(50_000))
    // A tenth is only just not saved: 950 bytes of noise, 50 of zeros.
    let almost = Payload(bytes: numbers.bytes(1900) + [UInt8](repeating: 0, count: 100))
    for payload in [short, noise, almost] {
      let sealed = Envelope.seal(payload, key: key, context: EncryptionFixture.context)
      #expect(sealed.count == payload.bytes.count + Envelope.overhead)
      #expect(sealed[1] == 0)
    }
    let text = Payload(bytes: numbers.text(4000))
    #expect(Envelope.plaintext(text, compress: false).count == 4002)
  }

  @Test("a payload that expands beyond the limit is refused, sealed or not")
  func bomb() throws {
    let zeros = Payload(bytes: [UInt8](repeating: 0, count: 1 << 20))
    let sealed = Envelope.seal(zeros, key: key, context: EncryptionFixture.context)
    let plain = Envelope.plaintext(zeros)
    #expect(sealed.count < 200)
    for (envelope, key) in [(sealed, key), (plain, nil)] as [([UInt8], DataKey?)] {
      #expect(try EncryptionFixture.open(envelope, key: key, limit: 1 << 20) == zeros)
      #expect(throws: PayloadError.malformed("it would expand to 1048576 bytes, and 1048575 are allowed")) {
        try EncryptionFixture.open(envelope, key: key, limit: (1 << 20) - 1)
      }
    }
  }

  static let frames: [(String, [UInt8])] = [
    ("nothing", []),
    ("no frame", Array("no zstd frame".utf8)),
    // Magic number, then a header: single segment with 8 bytes of size.
    ("a terabyte, says the header", [0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0]),
    ("no size in the header", [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x00, 0x09, 0, 0, 0x61]),
    ("a size, and no content", [0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x05]),
    ("more content than the header says", [0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x01, 0x11, 0, 0, 0x61, 0x61]),
    ("less content than the header says", [0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x05, 0x09, 0, 0, 0x61]),
    (
      "a second frame",
      [
        0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x01, 0x09, 0, 0, 0x61, 0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x01, 0x09, 0, 0,
        0x61,
      ]
    ),
    ("a skippable frame", [0x50, 0x2A, 0x4D, 0x18, 0x04, 0, 0, 0, 1, 2, 3, 4]),
  ]

  @Test("a frame that lies or is damaged is malformed", arguments: frames)
  func damaged(name: String, frame: [UInt8]) {
    let error = #expect(throws: PayloadError.self) {
      try EncryptionFixture.open([0, 0x10] + frame, key: nil)
    }
    guard case .malformed = error else {
      Issue.record("expected .malformed, found \(String(describing: error))")
      return
    }
  }

  @Test("the frame of one byte, from which the damaged ones are made, opens")
  func whole() throws {
    let frame: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x20, 0x01, 0x09, 0, 0, 0x61]
    #expect(try EncryptionFixture.open([0, 0x10] + frame, key: nil) == Payload(bytes: [0x61]))
  }
}
