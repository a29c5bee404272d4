package import FoundationEssentials
internal import PostgreSQL

/// One stream's part of an append, as its rows want it. (A class: it passes through many hands.)
final class SealedAppend: Sendable {
  let stream: StreamName
  /// `nil` where this process does not know the stream yet: then the name travels.
  let entry: StreamDirectory.Entry?
  let expected: ExpectedVersion
  /// Whether what this process knows of the stream is to be relied on: see ``isPlaced(on:)``.
  let mayBePlaced: Bool
  let events: [SealedEvent]
  /// Data keys in use that the store may not have yet.
  let newKeys: [DataKeyRow]
  let byteCount: Int
  /// Equal for equal streams, whether their ids are known or not; for others nearly always different.
  let streamKey: Int

  init(
    stream: StreamName, entry: StreamDirectory.Entry?, expected: ExpectedVersion, mayBePlaced: Bool,
    events: [SealedEvent], newKeys: [DataKeyRow]
  ) {
    self.stream = stream
    self.entry = entry
    self.expected = expected
    self.mayBePlaced = mayBePlaced
    self.events = events
    self.newKeys = newKeys
    byteCount = events.reduce(0) { $0 + $1.envelope.count + $1.metadata.count + 96 }
    streamKey = entry?.nameHash ?? stream.hashValue
  }

  /// 0 where it is not known.
  var streamID: Int64 { entry?.id ?? 0 }

  /// Whether the stream is not there yet, as far as this process knows.
  var isNew: Bool { entry == nil }

  func isSameStream(as other: SealedAppend) -> Bool {
    isNew ? other.isNew && stream == other.stream : streamID == other.streamID
  }

  /// Whether this process has seen the expected version committed, or, where none is expected, believes that it knows
  /// the last; or that the stream is to be made: then the server need not look for it.
  func isPlaced(on connection: Connection) -> Bool {
    guard mayBePlaced else { return false }
    return entry?.vouches(for: expected, on: connection) ?? true
  }

  /// Whether it may go to any version.
  var isUnplaced: Bool { expected.code < 0 }

  /// The version that its first event follows, as far as this process knows.
  var previousVersion: Int { isUnplaced ? entry?.lastSeen ?? 0 : Int(expected.code) }
}

/// An event as it goes into its row.
struct SealedEvent: Sendable {
  let id: UUID
  let type: String
  let schemaVersion: Int32
  /// Microseconds since 2000-01-01.
  let occurredAt: Int64?
  let metadata: [UInt8]
  let envelope: [UInt8]
}

/// A data key as the store keeps it.
package struct DataKeyRow: Sendable {
  package let id: UUID
  package let subject: String
  package let masterKeyID: String
  package let wrapped: [UInt8]
}

/// What the store said of one part.
enum Verdict: Sendable {
  case appended(streamID: Int64, firstVersion: Int, positions: [Position])
  case conflict(actual: Int)
  /// The first event's id is already at this version: an earlier try.
  case duplicate(firstVersion: Int, streamID: Int64)
  /// Nothing wrong with this part, but with another of its group.
  case refusedWithGroup

  var isDuplicate: Bool { if case .duplicate = self { true } else { false } }
}

extension ExpectedVersion {
  /// As the append function wants it.
  var code: Int64 {
    switch self {
    case .exact(let version): Int64(version)
    case .noStream: 0
    case .any: -1
    case .streamExists: -2
    }
  }

  /// Whether a stream can begin with such an append.
  var mayBeFirst: Bool { code == 0 || code == -1 }
}
