import CSodium

extension Keyring {
  /// The longest text that is read as a keyring, in bytes.
  static let largestText = 1 << 20

  /// Reads a keyring from an environment variable's value or from what a vault or a command printed: the text
  /// of a keyring, or a single key in base64 and nothing else.
  ///
  /// The bytes are read where they are. They are the caller's to erase.
  ///
  /// - Parameter source: What it came from, for error messages: `environment variable EVENTSTORE_KEYRING`.
  /// - Throws: ``EncryptionError/keyringEmpty(source:)``, ``EncryptionError/keyringTooLarge(source:limit:)``,
  ///   ``EncryptionError/keyringMalformed(source:line:problem:)``,
  ///   ``EncryptionError/keyringMismatch(source:line:written:found:)``, and where AES is missing
  ///   ``EncryptionError/aesUnavailable``.
  public init(text: some Collection<UInt8>, source: String) throws(EncryptionError) {
    try CryptoLibrary.start()
    let direct = text.withContiguousStorageIfAvailable { bytes in
      Result { () throws(EncryptionError) in
        try Self.parse(UnsafeRawBufferPointer(bytes), source: source, bareKey: true)
      }
    }
    if let direct {
      self = try direct.get()
      return
    }
    guard text.count <= Self.largestText else {
      throw .keyringTooLarge(source: source, limit: Self.largestText)
    }
    let copy = LockedBuffer(count: text.count)
    copy.bytes.copyBytes(from: text)
    self = try Self.parse(UnsafeRawBufferPointer(copy.bytes), source: source, bareKey: true)
  }

  /// - Parameter bareKey: Whether a key without its id will do, where it is the only line.
  static func parse(
    _ text: UnsafeRawBufferPointer, source: String, bareKey: Bool
  ) throws(EncryptionError) -> Keyring {
    guard text.count <= largestText else { throw .keyringTooLarge(source: source, limit: largestText) }
    var keys: [MasterKey] = []
    var bareLine: Int?
    var number = 0
    for line in text.split(separator: newline, omittingEmptySubsequences: false) {
      number += 1
      let fields = line.split { $0 == space || $0 == tab || $0 == carriageReturn }
      guard let first = fields.first, first.first != hash else { continue }
      if let bareLine { throw .keyringMalformed(source: source, line: bareLine, problem: expectedLine) }
      let written: String?
      let base64: Slice<UnsafeRawBufferPointer>
      switch fields.count {
      case 1 where bareKey && keys.isEmpty:
        bareLine = number
        written = nil
        base64 = first
      case 2:
        // What is not an id may be a key in the wrong place: it must not appear in a message.
        guard isID(first) else {
          throw .keyringMalformed(source: source, line: number, problem: expectedLine)
        }
        written = String(decoding: first, as: UTF8.self)
        base64 = fields[1]
      default:
        throw .keyringMalformed(source: source, line: number, problem: expectedLine)
      }

      let line = number
      let key = try MasterKey { (raw) throws(EncryptionError) in
        if let problem = decode(base64, into: raw) {
          throw .keyringMalformed(source: source, line: line, problem: problem)
        }
      }
      if let written, written != key.id {
        throw .keyringMismatch(source: source, line: line, written: written, found: key.id)
      }
      guard !keys.contains(where: { $0.id == key.id }) else {
        throw .keyringMalformed(
          source: source, line: line, problem: "key \(key.id) stands here a second time")
      }
      keys.append(key)
    }
    guard let keyring = Keyring(keys) else { throw .keyringEmpty(source: source) }
    return keyring
  }

  /// Makes a new key and lends the line that adds it to a keyring, ended by a newline, to be printed into a
  /// vault. It exists in no other place: what `body` does not keep is lost.
  ///
  /// - Throws: ``EncryptionError/aesUnavailable``, ``EncryptionError/libraryUnavailable``, and what `body` throws.
  public static func withNewLine<R>(_ body: (UnsafeRawBufferPointer) throws -> R) throws -> R {
    try CryptoLibrary.start()
    let line = LockedBuffer(count: lineSize)
    write(MasterKey(random: ()), to: line.address)
    return try body(UnsafeRawBufferPointer(line.bytes))
  }

  /// `mk_` and 16 digits, a space, 44 characters of base64, a newline.
  static let lineSize = idSize + 1 + base64Size + 1

  /// Writes a key's line.
  ///
  /// - Parameter target: `lineSize` bytes of locked memory.
  static func write(_ key: MasterKey, to target: UnsafeMutableRawPointer) {
    UnsafeMutableRawBufferPointer(start: target, count: lineSize).copyBytes(from: key.id.utf8)
    target.storeBytes(of: space, toByteOffset: idSize, as: UInt8.self)
    key.withBytes { raw in
      // It ends its text with a zero byte, where the newline goes.
      _ = sodium_bin2base64(
        (target + idSize + 1).assumingMemoryBound(to: CChar.self), base64Size + 1, raw, SecretKey.byteCount,
        Int32(sodium_base64_VARIANT_ORIGINAL))
    }
    target.storeBytes(of: newline, toByteOffset: lineSize - 1, as: UInt8.self)
  }

  // MARK: Bytes

  private static let newline = UInt8(ascii: "\n")
  private static let carriageReturn = UInt8(ascii: "\r")
  private static let space = UInt8(ascii: " ")
  private static let tab = UInt8(ascii: "\t")
  private static let hash = UInt8(ascii: "#")
  private static let idSize = 19
  private static let base64Size = 44
  private static let expectedLine = "expected <id> <base64 of 32 bytes>, with an id like mk_0123456789abcdef"
  private static let expectedKey = "the key is not the base64 of 32 bytes"

  private static func isID(_ field: Slice<UnsafeRawBufferPointer>) -> Bool {
    field.count == idSize && field.starts(with: "mk_".utf8)
      && field.dropFirst(3).allSatisfy {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
          || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
      }
  }

  /// Decodes a key in constant time.
  ///
  /// - Returns: What is wrong with it; nil when `target` holds the key.
  private static func decode(
    _ base64: Slice<UnsafeRawBufferPointer>, into target: UnsafeMutablePointer<UInt8>
  ) -> String? {
    guard base64.count == base64Size || base64.count == base64Size - 1 else { return expectedKey }
    let text = UnsafeRawBufferPointer(rebasing: base64)
    // The padding is left out by some tools.
    let variant =
      text.count == base64Size ? sodium_base64_VARIANT_ORIGINAL : sodium_base64_VARIANT_ORIGINAL_NO_PADDING
    var size = 0
    let status = sodium_base642bin(
      target, SecretKey.byteCount,
      text.baseAddress?.assumingMemoryBound(to: CChar.self), text.count, nil, &size, nil, Int32(variant))
    guard status == 0, size == SecretKey.byteCount else { return expectedKey }
    guard sodium_is_zero(target, SecretKey.byteCount) == 0 else { return "the key is all zeros" }
    return nil
  }
}
