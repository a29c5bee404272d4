internal import PostgreSQL

extension Connection {
  /// Creates a schema inside a transaction. One that another makes at the same moment is seen by neither beforehand, and
  /// `IF NOT EXISTS` does not help: whoever is late fails.
  ///
  /// - Throws: 55P03 where another was first: it is worth trying again.
  func createSchema(_ name: String) async throws(PostgreSQLError) {
    do throws(PostgreSQLError) {
      try await script("CREATE SCHEMA \(Statement.quoted(name))")
    } catch {
      guard ["23505", "42P06"].contains(error.sqlState ?? "") else { throw error }
      throw PostgreSQLError(.server, "schema \(name) was made by another at this moment", sqlState: "55P03")
    }
  }
}
