public import EventStore
internal import PostgreSQL

// Here, as `SQL` is something else inside the type.
private let knownTypes = SQL.`queries/known_types`

extension ReadModel {
  /// Has PostgreSQL make the tables and plan the statements, in a transaction that is never committed.
  ///
  /// - Returns: The names of the tables.
  /// - Throws: ``ReadModelError``, `PostgreSQLError`.
  @discardableResult
  public func check(in log: PostgreSQLEventLog) async throws -> [String] {
    try await ReadModelSession.open(self, log.configuration, EventCodec()).tables.map(\.name)
  }

  /// A type that the model has a statement for and that was not found in the log, with the most similar one that was.
  public struct UnknownType: Sendable, Hashable {
    /// As the file has it.
    public let type: String
    /// `nil`: none is like it.
    public let nearest: String?
  }

  /// Types with a statement that the log does not seem to have: perhaps slips, perhaps events that are still to come. Of a
  /// large log only its ends and the server's statistics are looked at.
  public func unknownTypes(in log: PostgreSQLEventLog) async throws -> [UnknownType] {
    let schema = log.configuration.schema
    let rows = try await log.pool.execute(schema.statement(knownTypes), Parameters(schema.name))
    let known = rows.indices.map { rows.text($0, 0) }
    guard !known.isEmpty else { return [] }
    return types.filter { !known.contains($0) }.map { type in
      let most = max(1, min(4, type.utf8.count / 3))
      var nearest: (name: String, distance: Int)?
      for name in known {
        let distance = ReadModelParser.distance(type, name, within: most)
        if distance <= most, distance < nearest?.distance ?? .max { nearest = (name, distance) }
      }
      return UnknownType(type: type, nearest: nearest?.name)
    }
  }
}
