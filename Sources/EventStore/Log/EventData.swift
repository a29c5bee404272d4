public import FoundationEssentials

/// An event that is to be appended: bytes with a declared type and schema version.
///
/// Services usually append ``Event`` values and let the codec make this; use it directly for raw bytes.
public struct EventData: Sendable, Hashable {
  /// Chosen by the client. The same id again, in the same stream and with the same expected version, is recognised as a
  /// retry.
  public var id: UUID
  /// 1 to 256 bytes; by convention dotted, such as `account.deposited`.
  public var type: String
  /// From 1, up to `Int32.max`. A reader's upcasters raise older ones.
  public var schemaVersion: Int
  /// At most as large as the log allows: 16 MiB, unless it is configured otherwise.
  public var payload: Payload
  /// At most 64 KiB of JSON, in the clear.
  public var metadata: Metadata
  /// Whose data this is, for encryption: all payloads of a subject share a data key. 1 to 512 bytes; `nil`: the stream.
  public var subject: String?
  /// When it happened, where that is not when it is recorded: an import of history. In the years 1 to 9999, kept to the
  /// microsecond.
  public var occurredAt: Date?

  /// Checks nothing: an append refuses what is wrong, as ``AppendError/invalid(_:)``.
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
  /// Each at most once in an append.
  public var stream: StreamName
  /// Where it does not hold, nothing of the whole append is written.
  public var expected: ExpectedVersion
  /// At least one.
  public var events: [EventData]

  /// - Parameter events: At least one, in order, no id twice; the append refuses others.
  public init(_ events: [EventData], to stream: StreamName, expecting expected: ExpectedVersion) {
    self.stream = stream
    self.expected = expected
    self.events = events
  }
}

/// What an append did: the versions and positions that its events got.
public struct Appended: Sendable, Hashable {
  /// That of the ``StreamAppend``.
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
