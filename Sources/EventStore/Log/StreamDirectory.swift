internal import PostgreSQL
internal import Synchronization

/// What this process has seen committed of streams: the id of each name, and a version that is there.
///
/// Ids are given once, for ever, and events are never removed, so what was true stays true.
final class StreamDirectory: Sendable {
  struct Entry: Sendable {
    let id: Int64
    /// The last version that was seen committed.
    var version = 0
    /// Appends for which the version is not to be relied on, because other writers were met lately: a wrong belief is
    /// found later and costs the server more than a look.
    var caution = 0
  }

  private static let cautionAfterConflict = 64

  private struct Known {
    var entries = GenerationalCache<StreamName, Entry>(capacity: 100_000)
    var names = GenerationalCache<Int64, StreamName>(capacity: 100_000)
  }
  private let known = Mutex(Known())
  private let queries: Queries

  init(_ queries: Queries) { self.queries = queries }

  func id(of stream: StreamName) -> Int64? { known.withLock { $0.entries[stream]?.id } }

  func name(of id: Int64) -> StreamName? { known.withLock { $0.names[id] } }

  /// The id of a stream for an append, 0 if it is not known, and whether `expected` is a version that was seen.
  func resolve(_ stream: StreamName, _ expected: ExpectedVersion) -> (id: Int64, isProven: Bool) {
    known.withLock { known in
      guard var entry = known.entries[stream] else { return (0, false) }
      if entry.caution > 0 {
        entry.caution -= 1
        known.entries[stream] = entry
        return (entry.id, false)
      }
      let code = expected.code
      return (entry.id, code > 0 && code <= entry.version)
    }
  }

  /// To be told only what was committed: an id from a transaction that rolls back, or that a crash takes back, would
  /// be given again to another name.
  func learn(_ stream: StreamName, id: Int64, version: Int = 0) {
    known.withLock { known in
      var entry = known.entries[stream] ?? Entry(id: id)
      entry.version = max(entry.version, version)
      known.entries[stream] = entry
      known.names[id] = stream
    }
  }

  /// What came of appends that were committed.
  func learn(_ outcomes: [(SealedAppend, Verdict)]) {
    known.withLock { known in
      for (append, verdict) in outcomes {
        switch verdict {
        case .appended(let id, let firstVersion, let positions):
          if known.entries[append.stream] == nil { known.names[id] = append.stream }
          var entry = known.entries[append.stream] ?? Entry(id: id)
          entry.version = max(entry.version, firstVersion + positions.count - 1)
          known.entries[append.stream] = entry
        case .conflict:
          known.entries[append.stream]?.caution = Self.cautionAfterConflict
        case .duplicate, .refusedWithGroup: break
        }
      }
    }
  }

  /// After a lost connection: where the server does not wait for its disk (synchronous_commit = off), a crash may have
  /// taken back what was seen.
  func forget() { known.withLock { $0 = Known() } }

  /// Looks names up in the store.
  func fetchIDs(of streams: [StreamName], _ connection: Connection) async throws(PostgreSQLError) {
    let names = BinaryArray(streams.map(\.description))
    let rows = try await connection.execute(queries.streamsByName, Parameters(names))
    for row in rows.indices { learn(StreamName(trusted: rows.text(row, 0)), id: rows.int64(row, 1)) }
  }

  /// Looks ids up that stand in events.
  func fetchNames(of ids: [Int64], _ connection: Connection) async throws(PostgreSQLError) {
    let rows = try await connection.execute(queries.streamsByID, Parameters(BinaryArray(ids)))
    for row in rows.indices { learn(StreamName(trusted: rows.text(row, 1)), id: rows.int64(row, 0)) }
  }

  /// The numbers of those categories that exist.
  func categoryIDs(_ names: [String], _ connection: Connection) async throws(PostgreSQLError) -> [Int64] {
    let rows = try await connection.execute(queries.categoriesByName, Parameters(BinaryArray(names)))
    return rows.indices.map { rows.int64($0, 0) }
  }
}
