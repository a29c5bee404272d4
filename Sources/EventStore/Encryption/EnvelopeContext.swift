package import FoundationEssentials

/// What a payload is bound to. A sealed payload opens only with exactly the values that it was sealed with.
package struct EnvelopeContext: Sendable, Hashable {
  /// What the payload is of: the same values bind differently for each.
  package enum Purpose: UInt8, Sendable, Hashable {
    case event, snapshot
  }

  package var purpose: Purpose
  /// The event's id; of a snapshot, the id of the last event in it.
  package var eventID: UUID
  package var stream: String
  /// The event's type; of a snapshot, the type of its state.
  package var type: String
  /// Fits the column, an `integer`.
  package var schemaVersion: Int
  /// The bytes as stored, or nil where there are none.
  package var metadata: [UInt8]?
  /// Microseconds since 1970, or nil where the writer gave no time.
  package var occurredAt: Int64?

  package init(
    purpose: Purpose = .event, eventID: UUID, stream: String, type: String, schemaVersion: Int,
    metadata: [UInt8]? = nil, occurredAt: Int64? = nil
  ) {
    self.purpose = purpose
    self.eventID = eventID
    self.stream = stream
    self.type = type
    self.schemaVersion = schemaVersion
    self.metadata = metadata
    self.occurredAt = occurredAt
  }

  /// The same, as the bytes that lie in this value. Do not let the view out of `body`.
  func withView<R>(_ body: (EnvelopeContextView) -> R) -> R {
    var stream = stream
    var type = type
    return stream.withUTF8 { stream in
      type.withUTF8 { type in
        func view(_ metadata: UnsafeRawBufferPointer?) -> R {
          body(
            EnvelopeContextView(
              purpose: purpose, eventID: eventID, stream: UnsafeRawBufferPointer(stream),
              type: UnsafeRawBufferPointer(type), schemaVersion: schemaVersion, metadata: metadata,
              occurredAt: occurredAt))
        }
        guard let metadata else { return view(nil) }
        return metadata.withUnsafeBytes(view)
      }
    }
  }
}

/// An ``EnvelopeContext`` over borrowed bytes, such as those of a database row: valid only as long as they
/// are.
package struct EnvelopeContextView {
  package var purpose: EnvelopeContext.Purpose
  package var eventID: UUID
  /// UTF-8.
  package var stream: UnsafeRawBufferPointer
  /// UTF-8.
  package var type: UnsafeRawBufferPointer
  package var schemaVersion: Int
  package var metadata: UnsafeRawBufferPointer?
  package var occurredAt: Int64?

  package init(
    purpose: EnvelopeContext.Purpose = .event, eventID: UUID, stream: UnsafeRawBufferPointer,
    type: UnsafeRawBufferPointer, schemaVersion: Int, metadata: UnsafeRawBufferPointer? = nil,
    occurredAt: Int64? = nil
  ) {
    self.purpose = purpose
    self.eventID = eventID
    self.stream = stream
    self.type = type
    self.schemaVersion = schemaVersion
    self.metadata = metadata
    self.occurredAt = occurredAt
  }

  // The additional data, frozen. Every part has a fixed length or its length before it, so that no two
  // different contexts give the same bytes:
  //   "eventstore event 1" or "eventstore snapshot 1"
  //   the envelope's first 18 bytes: algorithm, content and compression, key id
  //   16-byte event id | int32 schema version | 1 and int64 time, or 0 and eight zero bytes
  //   uint32 length and stream | uint32 length and type | 1, uint32 length and metadata, or 0
  // Integers are big-endian.

  /// Calls `body` with the additional data for an envelope that begins with `header`.
  @inline(__always)
  func withAdditionalData<R>(header: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    let domain: StaticString =
      switch purpose {
      case .event: "eventstore event 1"
      case .snapshot: "eventstore snapshot 1"
      }
    let size =
      domain.utf8CodeUnitCount + header.count + 16 + 4 + 9 + 4 + stream.count + 4 + type.count + 1
      + (metadata.map { 4 + $0.count } ?? 0)
    return withUnsafeTemporaryAllocation(byteCount: size, alignment: 1) { target in
      var writer = Writer(rest: target)
      writer.append(UnsafeRawBufferPointer(start: domain.utf8Start, count: domain.utf8CodeUnitCount))
      writer.append(header)
      withUnsafeBytes(of: eventID.uuid) { writer.append($0) }
      writer.append(integer: Int32(truncatingIfNeeded: schemaVersion))
      writer.append(integer: UInt8(occurredAt == nil ? 0 : 1))
      writer.append(integer: occurredAt ?? 0)
      writer.append(counted: stream)
      writer.append(counted: type)
      writer.append(integer: UInt8(metadata == nil ? 0 : 1))
      if let metadata { writer.append(counted: metadata) }
      return body(UnsafeRawBufferPointer(target))
    }
  }

  private struct Writer {
    var rest: UnsafeMutableRawBufferPointer

    @inline(__always)
    mutating func append(_ bytes: UnsafeRawBufferPointer) {
      rest.copyMemory(from: bytes)
      rest = UnsafeMutableRawBufferPointer(rebasing: rest[bytes.count...])
    }

    @inline(__always)
    mutating func append<I: FixedWidthInteger>(integer: I) {
      withUnsafeBytes(of: integer.bigEndian) { append($0) }
    }

    @inline(__always)
    mutating func append(counted bytes: UnsafeRawBufferPointer) {
      append(integer: UInt32(truncatingIfNeeded: bytes.count))
      append(bytes)
    }
  }
}
