import EventStore
import FoundationEssentials
import Glibc
import TestSupport

/// What the tests of encryption have in common.
enum EncryptionFixture {
  static let eventID = UUID(uuid: (1, 2, 3, 4, 5, 6, 0x77, 8, 0x89, 10, 11, 12, 13, 14, 15, 16))

  static let context = EnvelopeContext(
    eventID: eventID, stream: "account-42", type: "account.deposited", schemaVersion: 3,
    metadata: Array(#"{"traceparent":"00-01"}"#.utf8), occurredAt: 1_700_000_000_000_000)

  /// A key that stands for itself in no store: the bytes 1 to 32.
  static let bareKey = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA="

  static func open(
    _ envelope: [UInt8], key: DataKey?, context: EnvelopeContext = context, limit: Int = Envelope.defaultLimit
  ) throws(PayloadError) -> Payload {
    try envelope.withUnsafeBytes { bytes in
      Result { () throws(PayloadError) in
        try Envelope.open(bytes, key: key, context: context, limit: limit)
      }
    }.get()
  }

  static func header(of envelope: [UInt8]) throws(PayloadError) -> Envelope.Header {
    try envelope.withUnsafeBytes { bytes in
      Result { () throws(PayloadError) in try Envelope.header(of: bytes) }
    }.get()
  }

  static func bytes(hex: String) -> [UInt8] {
    var bytes: [UInt8] = []
    var high: UInt8?
    for digit in hex where digit.isHexDigit {
      let value = UInt8(digit.hexDigitValue ?? 0)
      if let first = high {
        bytes.append(first << 4 | value)
        high = nil
      } else {
        high = value
      }
    }
    return bytes
  }

  /// A folder of its own for `body`, removed afterwards.
  static func withFolder<R>(_ body: (String) async throws -> R) async throws -> R {
    let folder = FileManager.default.temporaryDirectory.appending(path: "keyring-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try await body(folder.path)
  }
}

extension SeededNumbers {
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }

  /// Text that compresses, as JSON does.
  mutating func text(_ count: Int) -> [UInt8] {
    let words = ["\"accountId\":", "\"amount\":", "1250.00", ",", "{", "}", "\"EUR\"", "account-"]
    var text: [UInt8] = []
    while text.count < count { text += Array(words[Int.random(in: 0..<words.count, using: &self)].utf8) }
    return Array(text.prefix(count))
  }
}
