internal import PostgreSQL
internal import Synchronization

/// Which id each stream name has. Ids are given once, for ever, so what was read from a committed row stays true.
final class StreamDirectory: Sendable {
  private struct Known {
    var ids = GenerationalCache<StreamName, Int64>(capacity: 200_000)
    var names = GenerationalCache<Int64, StreamName>(capacity: 200_000)
    var categories: [String: Int64] = [:]
  }
  private let known = Mutex(Known())
  private let queries: Queries

  init(_ queries: Queries) { self.queries = queries }

  func id(of stream: StreamName) -> Int64? { known.withLock { $0.ids[stream] } }

  func name(of id: Int64) -> StreamName? { known.withLock { $0.names[id] } }

  /// To be told only what was committed: an id from a transaction that rolls back, or that a crash takes back, would
  /// be given again to another name.
  func learn(_ streams: [(StreamName, Int64)]) {
    guard !streams.isEmpty else { return }
    known.withLock { known in
      for (name, id) in streams {
        known.ids[name] = id
        known.names[id] = name
      }
    }
  }

  /// Looks names up in the store; those that do not exist are not in the result.
  func fetchIDs(of streams: [StreamName], _ connection: Connection) async throws(PostgreSQLError) {
    let names = BinaryArray(streams.map(\.description))
    let rows = try await connection.execute(queries.streamsByName, Parameters(names))
    learn(rows.indices.map { (StreamName(trusted: rows.text($0, 0)), rows.int64($0, 1)) })
  }

  /// Looks ids up that stand in events.
  func fetchNames(of ids: [Int64], _ connection: Connection) async throws(PostgreSQLError) {
    let rows = try await connection.execute(queries.streamsByID, Parameters(BinaryArray(ids)))
    learn(rows.indices.map { (StreamName(trusted: rows.text($0, 1)), rows.int64($0, 0)) })
  }

  /// The numbers of those categories that exist.
  func categoryIDs(_ names: [String], _ connection: Connection) async throws(PostgreSQLError) -> [Int64] {
    let rows = try await connection.execute(queries.categoriesByName, Parameters(BinaryArray(names)))
    return rows.indices.map { rows.int64($0, 0) }
  }
}
