internal import PostgreSQL
internal import Synchronization

/// What this process has seen committed of streams: the id of each name, and a version that is there.
///
/// Ids are given once, for ever, and events are never removed, so what was true stays true.
final class StreamDirectory: Sendable {
  /// One stream's.
  final class Entry: Sendable {
    let id: Int64
    /// The last version that was seen committed.
    private let version = Atomic<Int>(0)
    /// Appends for which the version is not to be relied on, because other writers were met lately: a wrong belief is
    /// found later and costs the server more than a look.
    private let caution = Atomic<Int>(0)

    private static let cautionAfterConflict = 64

    init(id: Int64) { self.id = id }

    var lastSeen: Int { version.load(ordering: .acquiring) }

    /// Whether `expected` is a version that was seen, and to be relied on; where none is expected, whether any was. To be
    /// asked once an append.
    func hasSeen(_ expected: ExpectedVersion) -> Bool {
      if caution.load(ordering: .relaxed) > 0 {
        caution.wrappingSubtract(1, ordering: .relaxed)
        return false
      }
      return switch expected {
      case .exact(let version): version > 0 && version <= lastSeen
      case .any, .streamExists: lastSeen > 0
      case .noStream: false
      }
    }

    /// To be told only what was committed.
    func saw(_ version: Int) { self.version.max(version, ordering: .acquiringAndReleasing) }

    func metOtherWriters() { caution.store(Self.cautionAfterConflict, ordering: .relaxed) }
  }

  private struct Known {
    var entries = GenerationalCache<StreamName, Entry>(capacity: 100_000)
    var names = GenerationalCache<Int64, StreamName>(capacity: 100_000)
  }
  private let known = Mutex(Known())
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
      let entry = Entry(id: id)
      known.entries[stream] = entry
      return entry
    }
  }

  /// What came of an append that was committed.
  func learn(_ append: SealedAppend, _ verdict: Verdict) {
    switch verdict {
    case .appended(let id, let firstVersion, let positions):
      let entry = append.entry ?? learn(append.stream, id: id)
      if append.isUnplaced, entry.lastSeen > 0, firstVersion > entry.lastSeen + 1 { entry.metOtherWriters() }
      entry.saw(firstVersion + positions.count - 1)
    case .conflict: append.entry?.metOtherWriters()
    case .duplicate, .refusedWithGroup: break
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
    let names = BinaryArray(streams.map(\.description))
    let rows = try await connection.send(queries.streamsByName, Parameters(names)).promptRows()
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
