public import PostgreSQL

/// Why a store could not be opened.
public enum OpenError: Error, Sendable, CustomStringConvertible {
  /// The schema has no store, or one at another migration than this binary's.
  case notMigrated(SchemaName, Migrator.Status)
  /// The master key in hand is not the store's. Nothing was written.
  case encryption(EncryptionError)
  /// No connection in time.
  case unavailable(PostgreSQLError)
  /// The server refused: privileges, a time-out.
  case database(PostgreSQLError)

  public var description: String {
    switch self {
    case .notMigrated(let schema, .absent):
      "there is no event store in schema \(schema): make one with `esctl migrate`"
    case .notMigrated(let schema, .behind(let at, let missing)):
      "the event store in schema \(schema) is at migration \(at), \(missing) behind: run `esctl migrate`"
    case .notMigrated(let schema, .newer(let at)):
      "the event store in schema \(schema) is at migration \(at), newer than this binary: use a newer binary"
    case .notMigrated(let schema, .upToDate): "the event store in schema \(schema) is up to date"
    case .encryption(let error): error.description
    case .unavailable(let error): "the database is unavailable: \(error)"
    case .database(let error): "the event store could not be opened: \(error)"
    }
  }
}
