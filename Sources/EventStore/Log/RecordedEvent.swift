public import FoundationEssentials

/// An event as the log holds it.
public struct RecordedEvent: Sendable {
  /// Given by its writer.
  public let id: UUID
  public let stream: StreamName
  /// In the stream: 1, 2, 3 … without gaps.
  public let version: Int
  /// In the whole log: ascending, with gaps.
  public let position: Position
  /// As it was stored: 1 to 256 bytes, by convention dotted, such as `account.deposited`.
  public let type: String
  /// As it was stored, from 1. An ``EventCodec`` raises older ones.
  public let schemaVersion: Int
  /// When the server recorded it, by the server's clock, to the microsecond.
  public let recordedAt: Date
  /// When it happened, to the microsecond; `nil`: the writer did not say.
  public let occurredAt: Date?
  /// In the clear: it needs no key. The append may have added a trace context: see ``Metadata/traceparent``.
  public let metadata: Metadata
  /// The payload, opened; or why it cannot be opened. One unreadable payload spoils no other event.
  public let payload: Result<Payload, PayloadError>
  /// The data key that the payload is sealed under; `nil` where it is in the clear.
  package let keyID: UUID?
  /// As the log has it; `nil`: it was not read from there.
  private let knownShard: UInt8?

  /// 0 to 255: part of every key that divides work.
  package var shard: UInt8 { knownShard ?? ShardSet.shard(of: stream.description) }

  /// When it happened: ``occurredAt`` where there is one, else ``recordedAt``.
  public var time: Date { occurredAt ?? recordedAt }

  /// For tests, and for what takes events from elsewhere. Checks nothing.
  public init(
    id: UUID, stream: StreamName, version: Int, position: Position, type: String, schemaVersion: Int,
    recordedAt: Date, occurredAt: Date? = nil, metadata: Metadata = Metadata(), payload: Result<Payload, PayloadError>
  ) {
    self.init(
      id: id, stream: stream, version: version, position: position, type: type, schemaVersion: schemaVersion,
      recordedAt: recordedAt, occurredAt: occurredAt, metadata: metadata, payload: payload, keyID: nil)
  }

  package init(
    id: UUID, stream: StreamName, version: Int, position: Position, type: String, schemaVersion: Int,
    recordedAt: Date, occurredAt: Date?, metadata: Metadata, payload: Result<Payload, PayloadError>, keyID: UUID?,
    shard: UInt8? = nil
  ) {
    self.id = id
    self.stream = stream
    self.version = version
    self.position = position
    self.type = type
    self.schemaVersion = schemaVersion
    self.recordedAt = recordedAt
    self.occurredAt = occurredAt
    self.metadata = metadata
    self.payload = payload
    self.keyID = keyID
    knownShard = shard
  }
}

/// Why one event's payload cannot be read. Everything else of the event is there.
public enum PayloadError: Error, Hashable, Sendable {
  /// The data key is in the store, but no master key in hand opens it.
  case masterKeyMissing(masterKey: String)
  /// The store has no such data key.
  case dataKeyMissing(key: String)
  /// The subject's data key was destroyed on purpose: its payloads are gone for good.
  case shredded(subject: String)
  /// The wrapped data key was altered or belongs to another subject.
  case dataKeyAltered(key: String)
  /// The sealed payload, or what it is bound to (id, stream, type, schema version, metadata, time), was altered.
  case altered
  /// A plaintext payload in a category that is declared sealed.
  case notSealed(category: String)
  /// Not an envelope that this version can read.
  case malformed(String)
}

extension PayloadError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .masterKeyMissing(let masterKey):
      "sealed under master key \(masterKey), which the keyring does not hold: add that key to the keyring"
    case .dataKeyMissing(let key):
      "its data key \(key) is not in the store: restore the data_keys table from a backup"
    case .shredded(let subject):
      "the data key of subject \(subject.debugDescription) was shredded: the payload is gone for good"
    case .dataKeyAltered(let key):
      "its data key \(key) does not open: the wrapped key was altered or moved, restore it from a backup"
    case .altered:
      "the payload does not open: it, or the id, stream, type, schema version, metadata or time that it is bound "
        + "to, was altered after it was sealed"
    case .notSealed(let category):
      "the payload is plaintext, but category \(category.debugDescription) is not declared plaintext"
    case .malformed(let problem):
      "the payload is not an envelope that this version reads: \(problem)"
    }
  }

  /// A stable name for JSON output.
  public var code: String {
    switch self {
    case .masterKeyMissing: "masterKeyMissing"
    case .dataKeyMissing: "dataKeyMissing"
    case .shredded: "shredded"
    case .dataKeyAltered: "dataKeyAltered"
    case .altered: "altered"
    case .notSealed: "notSealed"
    case .malformed: "malformed"
    }
  }
}
