public import FoundationEssentials

/// What a folded state is: a snapshot is read back only by a program for which all three are the same.
public struct SnapshotShape: Sendable, Hashable {
  /// The declared name of the state: for an ``Aggregate``, its category.
  public let stateType: String
  /// Declared; raised when `apply` gives other states from the same events.
  public let schemaVersion: Int
  /// 16 bytes, from the names and types of the state's fields.
  public let fingerprint: [UInt8]

  package init(stateType: String, schemaVersion: Int, fingerprint: [UInt8]) {
    self.stateType = stateType
    self.schemaVersion = schemaVersion
    self.fingerprint = fingerprint
  }
}

/// The state of a stream after one of its events, as bytes.
public struct Snapshot: Sendable {
  /// Whose state it is.
  public let stream: StreamName
  /// Which programs can read it back.
  public let shape: SnapshotShape
  /// The state is the one after this event …
  public let version: Int
  /// … which has this id.
  public let eventID: UUID
  /// No event up to ``version`` happened later.
  public let latestTime: Date
  /// Of an ``Aggregate``: what its `Codable` makes of it, in JSON.
  public let state: Payload
  /// The data keys of the events in it, or of the snapshot that it was made from. Empty: plaintext.
  package let keyIDs: Set<UUID>
  /// When it was made; `nil` for one that is to be saved.
  public let createdAt: Date?

  package init(
    stream: StreamName, shape: SnapshotShape, version: Int, eventID: UUID, latestTime: Date, state: Payload,
    keyIDs: Set<UUID>, createdAt: Date? = nil
  ) {
    self.stream = stream
    self.shape = shape
    self.version = version
    self.eventID = eventID
    self.latestTime = latestTime
    self.state = state
    self.keyIDs = keyIDs
    self.createdAt = createdAt
  }
}

/// Where snapshots are kept. A cache: whatever is not found, or cannot be read, costs a full replay and nothing else.
public protocol SnapshotStore: Sendable {
  /// The newest snapshot of this shape that is not after `version` and holds no event after `time`; `nil` when there
  /// is none that can be read.
  func latest(
    of stream: StreamName, _ shape: SnapshotShape, upTo version: Int, until time: Date?
  ) async throws(ReadError) -> Snapshot?

  /// Keeps a snapshot, and the last few of its shape; a newer one is never replaced by an older one.
  ///
  /// - Returns: Whether it was kept: not where the events in it belong to several subjects, as one of them could not
  ///   be shredded alone.
  @discardableResult
  func save(_ snapshot: Snapshot) async throws(AppendError) -> Bool

  /// The streams of a category that have grown by at least `events` since their last snapshot of this shape, of those
  /// that were appended to after `position`; and the position up to which that was looked at. No position: none, and
  /// where the log ends.
  func grownStreams(
    of category: String, _ shape: SnapshotShape, by events: Int, after position: Position?
  ) async throws(ReadError) -> (streams: [StreamName], position: Position)
}
