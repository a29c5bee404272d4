public import FoundationEssentials

/// An event that is to be appended: bytes with a declared type and schema version.
///
/// Services usually append ``Event`` values and let the codec make this; use it directly for raw bytes.
public struct EventData: Sendable, Hashable {
  /// Chosen by the client. Appending the same id again to the same stream is recognised as a retry.
  public var id: UUID
  /// 1 to 256 bytes; by convention dotted, such as `account.deposited`.
  public var type: String
  /// From 1. A reader's upcasters raise older ones.
  public var schemaVersion: Int
  public var payload: Payload
  public var metadata: Metadata
  /// Whose data this is, for encryption: all payloads of a subject share a data key. Default: the stream.
  public var subject: String?
  /// When it happened, where that is not when it is recorded: an import of history.
  public var occurredAt: Date?

  public init(
    id: UUID = .v7(), type: String, schemaVersion: Int = 1, payload: Payload, metadata: Metadata = Metadata(),
    subject: String? = nil, occurredAt: Date? = nil
  ) {
    self.id = id
    self.type = type
    self.schemaVersion = schemaVersion
    self.payload = payload
    self.metadata = metadata
    self.subject = subject
    self.occurredAt = occurredAt
  }
}

/// One stream's part of an atomic append to several.
public struct StreamAppend: Sendable {
  public var stream: StreamName
  public var expected: ExpectedVersion
  /// At least one.
  public var events: [EventData]

  public init(_ events: [EventData], to stream: StreamName, expecting expected: ExpectedVersion) {
    self.stream = stream
    self.expected = expected
    self.events = events
  }
}

/// What an append did: the versions and positions that its events got.
public struct Appended: Sendable, Hashable {
  public let stream: StreamName
  /// The version of the first appended event.
  public let firstVersion: Int
  /// One an event, in order.
  public let positions: [Position]
  /// `true` when this append had been done before, with the same event ids and content: nothing was written now.
  public let wasDuplicate: Bool

  package init(stream: StreamName, firstVersion: Int, positions: [Position], wasDuplicate: Bool) {
    self.stream = stream
    self.firstVersion = firstVersion
    self.positions = positions
    self.wasDuplicate = wasDuplicate
  }

  /// The version of the last appended event: what the next append to the stream expects.
  public var version: Int { firstVersion + positions.count - 1 }
}
