package import FoundationEssentials

/// A payload as the store keeps it, in `events.data`.
///
/// The format, frozen: every later version reads it.
///
/// | bytes | plaintext | sealed |
/// |---|---|---|
/// | 0 | algorithm: 0 | algorithm: 1, AES-256-GCM |
/// | 1 | low four bits: ``Payload/Content``; high four: compression, 0 none, 1 zstd | the same |
/// | 2 … 17 | the payload | the data key's id |
/// | 18 … 29 | | the nonce |
/// | 30 … | | the ciphertext, then 16 bytes of tag |
///
/// What a sealed envelope is bound to, and how, stands in ``EnvelopeContextView``. The length of a sealed
/// payload is not hidden; where it was compressed, that length says how well it compresses.
package enum Envelope {
  /// What an envelope says of itself before it is opened.
  package enum Header: Hashable, Sendable {
    case plaintext
    case sealed(keyID: UUID)
  }

  /// The largest payload, in bytes, that opens from a compressed envelope unless the caller allows another.
  package static let defaultLimit = 64 << 20

  /// Bytes that sealing adds to a payload.
  package static let overhead = bodyOffset + SecretKey.tagSize

  private static let plaintextAlgorithm: UInt8 = 0
  private static let sealedAlgorithm: UInt8 = 1
  private static let noCompression: UInt8 = 0
  private static let zstd: UInt8 = 1
  private static let plaintextHeaderSize = 2
  private static let sealedHeaderSize = 18
  private static let bodyOffset = sealedHeaderSize + SecretKey.nonceSize

  // MARK: Writing

  /// Seals a payload with its subject's key and binds it to `context`.
  ///
  /// - Parameter compress: `false` never compresses. Else it is done from 1 KiB on, where it saves a tenth.
  package static func seal(
    _ payload: Payload, key: DataKey, context: EnvelopeContext, compress: Bool = true
  ) -> [UInt8] {
    context.withView { seal(payload, key: key, context: $0, compress: compress) }
  }

  /// Seals a payload with its subject's key and binds it to borrowed bytes.
  package static func seal(
    _ payload: Payload, key: DataKey, context: EnvelopeContextView, compress: Bool = true
  ) -> [UInt8] {
    payload.bytes.withUnsafeBufferPointer { source in
      [UInt8](unsafeUninitializedCapacity: overhead + source.count) { target, initialized in
        guard let base = target.baseAddress else { return }
        let body = base + bodyOffset
        let packed = compressed(source, into: body, compress)
        base[0] = sealedAlgorithm
        base[1] = form(payload.content, packed == nil ? noCompression : zstd)
        UnsafeMutableRawPointer(base + 2).storeBytes(of: key.id.uuid, as: uuid_t.self)
        NonceSource.next(into: base + sealedHeaderSize)
        let count = packed ?? source.count
        let header = UnsafeRawBufferPointer(start: base, count: sealedHeaderSize)
        context.withAdditionalData(header: header) { additionalData in
          // A compressed payload is sealed where it lies.
          key.key.seal(
            packed == nil ? source.baseAddress : UnsafePointer(body), count: count,
            nonce: base + sealedHeaderSize, additionalData: additionalData, to: body)
        }
        initialized = overhead + count
      }
    }
  }

  /// The envelope of a payload that is stored in the clear, because its category is declared so.
  package static func plaintext(_ payload: Payload, compress: Bool = true) -> [UInt8] {
    payload.bytes.withUnsafeBufferPointer { source in
      [UInt8](unsafeUninitializedCapacity: plaintextHeaderSize + source.count) { target, initialized in
        guard let base = target.baseAddress else { return }
        let body = base + plaintextHeaderSize
        let packed = compressed(source, into: body, compress)
        base[0] = plaintextAlgorithm
        base[1] = form(payload.content, packed == nil ? noCompression : zstd)
        if packed == nil, let bytes = source.baseAddress { body.update(from: bytes, count: source.count) }
        initialized = plaintextHeaderSize + (packed ?? source.count)
      }
    }
  }

  /// What is larger than the default limit stays uncompressed, so that whatever was written opens again.
  @inline(__always)
  private static func compressed(
    _ source: UnsafeBufferPointer<UInt8>, into target: UnsafeMutablePointer<UInt8>, _ compress: Bool
  ) -> Int? {
    guard compress, source.count >= Compression.smallest, source.count <= defaultLimit else { return nil }
    return Compression.compress(source, into: target)
  }

  private static func form(_ content: Payload.Content, _ compression: UInt8) -> UInt8 {
    content.rawValue | compression << 4
  }

  // MARK: Reading

  /// What kind of envelope it is, and which key opens it.
  ///
  /// - Throws: ``PayloadError/malformed(_:)``.
  package static func header(of envelope: UnsafeRawBufferPointer) throws(PayloadError) -> Header {
    try parse(envelope).isSealed ? .sealed(keyID: keyID(of: envelope)) : .plaintext
  }

  /// Whether it is sealed, and this is the key that it names.
  @inline(__always)
  static func isSealed(_ envelope: UnsafeRawBufferPointer, with key: DataKey) -> Bool {
    envelope.count >= overhead && envelope[0] == sealedAlgorithm && names(envelope, key)
  }

  /// Of a sealed one.
  private static func keyID(of envelope: UnsafeRawBufferPointer) -> UUID {
    UUID(uuid: envelope.loadUnaligned(fromByteOffset: 2, as: uuid_t.self))
  }

  @inline(__always)
  private static func names(_ envelope: UnsafeRawBufferPointer, _ key: DataKey) -> Bool {
    withUnsafeBytes(of: key.id.uuid) { id in
      envelope.loadUnaligned(fromByteOffset: 2, as: UInt64.self) == id.loadUnaligned(as: UInt64.self)
        && envelope.loadUnaligned(fromByteOffset: 10, as: UInt64.self)
          == id.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
    }
  }

  /// Opens an envelope.
  ///
  /// - Parameters:
  ///   - key: The key that the header names. With nil only a plaintext envelope opens, with a key only a
  ///     sealed one.
  ///   - limit: The largest payload, in bytes, to expand from a compressed envelope.
  /// - Throws: ``PayloadError/malformed(_:)``; ``PayloadError/dataKeyMissing(key:)`` when the envelope names
  ///   another key; ``PayloadError/altered`` when it, or anything that it is bound to, was altered.
  package static func open(
    _ envelope: UnsafeRawBufferPointer, key: DataKey?, context: EnvelopeContext, limit: Int = defaultLimit
  ) throws(PayloadError) -> Payload {
    // A closure of `withUTF8` cannot throw a typed error.
    try context.withView { view in
      Result { () throws(PayloadError) in try open(envelope, key: key, context: view, limit: limit) }
    }.get()
  }

  /// Opens an envelope, bound to borrowed bytes: allocates the payload and, where it is compressed, what it
  /// expands from.
  package static func open(
    _ envelope: UnsafeRawBufferPointer, key: DataKey?, context: EnvelopeContextView, limit: Int = defaultLimit
  ) throws(PayloadError) -> Payload {
    let parts = try parse(envelope)
    switch parts.isSealed {
    case false:
      // Someone turned a sealed payload into a plaintext one.
      guard key == nil else { throw .altered }
      let body = UnsafeRawBufferPointer(rebasing: envelope[plaintextHeaderSize...])
      guard parts.isCompressed else { return Payload(bytes: [UInt8](body), content: parts.content) }
      return Payload(bytes: try expanded(body, limit: limit), content: parts.content)

    case true:
      guard let key, names(envelope, key) else {
        throw .dataKeyMissing(key: keyID(of: envelope).uuidString.lowercased())
      }
      // Opened where it lies in a copy: such an array is made much faster than one without content.
      var body = [UInt8](envelope[bodyOffset..<envelope.count - SecretKey.tagSize])
      let opened = body.withUnsafeMutableBufferPointer { opens(envelope, key, context, into: $0.baseAddress) }
      guard opened else { throw .altered }
      guard parts.isCompressed else { return Payload(bytes: body, content: parts.content) }
      let expanded = body.withUnsafeBytes { body in
        Result { () throws(PayloadError) in try self.expanded(body, limit: limit) }
      }
      return Payload(bytes: try expanded.get(), content: parts.content)
    }
  }

  @inline(__always)
  private static func opens(
    _ envelope: UnsafeRawBufferPointer, _ key: DataKey, _ context: EnvelopeContextView,
    into target: UnsafeMutablePointer<UInt8>?
  ) -> Bool {
    guard let base = envelope.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return false }
    let header = UnsafeRawBufferPointer(start: base, count: sealedHeaderSize)
    return context.withAdditionalData(header: header) { additionalData in
      key.key.open(
        base + bodyOffset, count: envelope.count - bodyOffset, nonce: base + sealedHeaderSize,
        additionalData: additionalData, to: target)
    }
  }

  private static func expanded(_ frame: UnsafeRawBufferPointer, limit: Int) throws(PayloadError) -> [UInt8] {
    try Compression.decompress(frame, size: Compression.contentSize(of: frame, limit: limit))
  }

  private struct Parts {
    var isSealed: Bool
    var content: Payload.Content
    var isCompressed: Bool
  }

  @inline(__always)
  private static func parse(_ envelope: UnsafeRawBufferPointer) throws(PayloadError) -> Parts {
    guard envelope.count >= plaintextHeaderSize else {
      throw .malformed("expected at least \(plaintextHeaderSize) bytes, found \(envelope.count)")
    }
    let form = envelope[1]
    guard let content = Payload.Content(rawValue: form & 15) else {
      throw .malformed("unknown content \(form & 15): a newer version wrote it, or it was altered")
    }
    guard form >> 4 <= zstd else {
      throw .malformed("unknown compression \(form >> 4): a newer version wrote it, or it was altered")
    }
    switch envelope[0] {
    case plaintextAlgorithm: break
    case sealedAlgorithm:
      guard envelope.count >= overhead else {
        throw .malformed("expected at least \(overhead) bytes of a sealed payload, found \(envelope.count)")
      }
    default:
      throw .malformed("unknown algorithm \(envelope[0]): a newer version wrote it, or it was altered")
    }
    return Parts(isSealed: envelope[0] == sealedAlgorithm, content: content, isCompressed: form >> 4 == zstd)
  }
}
