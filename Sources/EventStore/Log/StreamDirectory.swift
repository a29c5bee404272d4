internal import PostgreSQL
internal import Synchronization

/// What this process has seen committed of streams: the id of each name, and a version that is there.
///
/// Ids are given once, for ever, and events are never removed, so what was true stays true.
final class StreamDirectory: Sendable {
  /// One stream's.
  final class Entry: Sendable {
    let id: Int64
    /// Of the stream's name.
    let nameHash: Int
    private let seen = Mutex<(version: Int, newestConnection: UInt64)>((0, 0))
    /// Whether the version is to be relied on.
    fileprivate let doubts = Doubts()

    init(id: Int64, of stream: StreamName) {
      self.id = id
      nameHash = stream.hashValue
    }

    /// The last version that was seen committed.
    var lastSeen: Int { seen.withLock { $0.version } }

    /// Whether `expected` is a version that was seen, and where none is expected, whether any was; and is there as long
    /// as `connection` works. A server that crashes, or hands over to a standby, may lose what it has told where it does
    /// not wait for its disk, or its standby; but a connection that was made before the version was seen, and works, is
    /// one to a server that has not.
    func vouches(for expected: ExpectedVersion, on connection: Connection) -> Bool {
      let seen = seen.withLock { $0 }
      guard seen.newestConnection >= connection.serial else { return false }
      return switch expected {
      case .exact(let version): version > 0 && version <= seen.version
      case .any, .streamExists: seen.version > 0
      case .noStream: false
      }
    }

    /// To be told only what was committed.
    ///
    /// - Parameter newestConnection: This process's, when the statement was sent that saw it.
    func saw(_ version: Int, since newestConnection: UInt64) {
      seen.withLock { seen in
        if newestConnection > seen.newestConnection {
          seen = (version, newestConnection)
        } else if newestConnection == seen.newestConnection {
          seen.version = max(seen.version, version)
        }
      }
    }
  }

  /// Appends for which a belief is not to be relied on, because that was found wrong lately, or other writers were met: a
  /// wrong belief is found later and costs the server more than a look.
  fileprivate struct Doubts: ~Copyable, Sendable {
    private let appends = Atomic<Int>(0)

    private static let atOnce = 64

    /// To be asked once an append.
    func areLeft() -> Bool {
      guard appends.load(ordering: .relaxed) > 0 else { return false }
      appends.wrappingSubtract(1, ordering: .relaxed)
      return true
    }

    func raise() { appends.store(Self.atOnce, ordering: .relaxed) }
  }

  private struct Known {
    var entries = GenerationalCache<StreamName, Entry>(capacity: 100_000)
    var names = GenerationalCache<Int64, StreamName>(capacity: 100_000)
  }
  private let known = Mutex(Known())
  /// Whether a stream that this process does not know is to be taken for one that is not there.
  private let doubtsAboutNew = Doubts()
  private let queries: Queries

  init(_ queries: Queries) { self.queries = queries }

  func entry(of stream: StreamName) -> Entry? { known.withLock { $0.entries[stream] } }

  func name(of id: Int64) -> StreamName? { known.withLock { $0.names[id] } }

  /// To be told only what was committed: an id from a transaction that rolls back, or that a crash takes back, would
  /// be given again to another name.
  @discardableResult
  func learn(_ stream: StreamName, id: Int64) -> Entry {
    known.withLock { known in
      // Both: each forgets by itself what was not asked for lately.
      known.names[id] = stream
      if let entry = known.entries[stream] { return entry }
      let entry = Entry(id: id, of: stream)
      known.entries[stream] = entry
      return entry
    }
  }

  /// What came of an append that was committed.
  ///
  /// - Parameter newestConnection: This process's, when it was sent.
  func learn(_ append: SealedAppend, _ verdict: Verdict, since newestConnection: UInt64) {
    switch verdict {
    case .appended(let id, let firstVersion, let positions):
      let entry = append.entry ?? learn(append.stream, id: id)
      if append.isUnplaced {
        let lastSeen = entry.lastSeen
        if lastSeen > 0 || append.isNew, firstVersion > lastSeen + 1 { doubt(append) }
      }
      entry.saw(firstVersion + positions.count - 1, since: newestConnection)
    case .conflict: doubt(append)
    case .duplicate: if append.isUnplaced || append.isNew { doubt(append) }
    case .refusedWithGroup: break
    }
  }

  /// Whether what this process believes of a stream, or of those that it does not know, is not to be relied on. To be
  /// asked once an append.
  func isDoubted(_ entry: Entry?) -> Bool { entry?.doubts.areLeft() ?? doubtsAboutNew.areLeft() }

  /// What was believed of a stream was found wrong, or may have been.
  func doubt(_ append: SealedAppend) {
    if let entry = append.entry {
      entry.doubts.raise()
    } else if append.mayBePlaced {
      doubtsAboutNew.raise()
    }
  }

  /// After a lost connection: where the server does not wait for its disk (synchronous_commit = off), a crash may have
  /// taken back what was seen.
  func forget() { known.withLock { $0 = Known() } }

  /// A stream's entry, looked up where this process has not met it; `nil` for one without events.
  func entry(of stream: StreamName, _ connection: Connection) async throws(PostgreSQLError) -> Entry? {
    if let entry = entry(of: stream) { return entry }
    try await fetchIDs(of: [stream], connection)
    return entry(of: stream)
  }

  /// Looks names up in the store.
  func fetchIDs(of streams: [StreamName], _ connection: Connection) async throws(PostgreSQLError) {
    learnIDs(try await askForIDs(of: streams, connection).promptRows())
  }

  func askForIDs(of streams: [StreamName], _ connection: Connection) -> PendingResult {
    connection.send(queries.streamsByName, Parameters(BinaryArray(streams.map(\.description))))
  }

  /// What was asked for.
  func learnIDs(_ rows: Rows) {
    for row in rows.indices { learn(StreamName(trusted: rows.text(row, 0)), id: rows.int64(row, 1)) }
  }

  /// Looks ids up that stand in events.
  func askForNames(of ids: [Int64], _ connection: Connection) -> PendingResult {
    connection.send(queries.streamsByID, Parameters(BinaryArray(ids)))
  }

  /// What was asked for.
  ///
  /// - Returns: The same, whatever is forgotten of it meanwhile.
  func learnNames(_ rows: Rows) -> [Int64: StreamName] {
    var names: [Int64: StreamName] = [:]
    names.reserveCapacity(rows.count)
    for row in rows.indices {
      let (id, name) = (rows.int64(row, 0), StreamName(trusted: rows.text(row, 1)))
      names[id] = name
      learn(name, id: id)
    }
    return names
  }

  /// The numbers of those categories that exist.
  func categoryIDs(_ names: [String], _ connection: Connection) async throws(PostgreSQLError) -> [Int64] {
    let rows = try await connection.execute(queries.categoriesByName, Parameters(BinaryArray(names)))
    return rows.indices.map { rows.int64($0, 0) }
  }
}
