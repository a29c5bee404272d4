internal import EventStore
internal import PostgreSQL

/// The views that readers use: stable names for the tables of whichever build is live.
struct ProjectionViews {
  let catalog: ProjectionCatalog
  let name: String

  /// Makes the views show a build's tables, inside a transaction. Readers that are in a transaction of their own finish
  /// first; those that come later wait, and then see the new tables alone.
  ///
  /// - Throws: ``ProjectionError``: `nameTaken`, `dependents`. `PostgreSQLError` 55P03 when readers did not let go in time, or another
  ///   projection has made the schema of the views at the same moment.
  func show(_ build: ProjectionBuild, on connection: Connection) async throws {
    let (views, tables) = (catalog.viewSchema, build.tableSchema(of: catalog.store))
    try await makeSchema(on: connection)
    let relations = try await connection.execute(catalog.queries.views, Parameters(views, name, tables))
    var shown: [(relation: String, kept: Kept)] = []
    for row in relations.indices {
      let relation = relations.text(row, 0)
      let (isView, isTable, fits) = (relations.bool(row, 1), relations.bool(row, 2), relations.bool(row, 3))
      let view = "\(Statement.quoted(views)).\(Statement.quoted(relation))"
      let isReplaced = isView && isTable && fits
      // In place, what others may do with it stays; its options do not.
      let kept = Kept(
        isNew: !isView, grants: isReplaced ? [] : relations.textArray(row, 5), options: relations.textArray(row, 6))
      if isView, !isReplaced {
        let dependents = relations.textArray(row, 4)
        guard dependents.isEmpty else {
          throw ProjectionError.dependents(view: "\(views).\(relation)", dependents: dependents)
        }
        try await connection.script("DROP VIEW \(view)")
      }
      if isTable { shown.append((relation, kept)) }
    }
    let clash = try await connection.execute(
      catalog.queries.nameClash, Parameters(views, name, BinaryArray(shown.map(\.relation))))
    guard clash.isEmpty else {
      throw ProjectionError.nameTaken(view: "\(views).\(clash.text(0, 0))", by: clash.text(0, 1))
    }
    for (relation, kept) in shown {
      let view = "\(Statement.quoted(views)).\(Statement.quoted(relation))"
      let options = kept.options.isEmpty ? "" : " WITH (\(kept.options.joined(separator: ", ")))"
      try await connection.script(
        """
        CREATE OR REPLACE VIEW \(view)\(options) AS
          SELECT * FROM \(Statement.quoted(tables)).\(Statement.quoted(relation));
        COMMENT ON VIEW \(view) IS 'projection \(name)'
        """)
      for grant in kept.grants { try await connection.script(grant) }
      // Once: what an administrator has revoked since stays revoked.
      guard kept.isNew else { continue }
      for role in ["reader", "writer"] {
        try await grant("SELECT ON \(view)", to: "\(catalog.store.name)_\(role)", connection)
      }
    }
  }

  /// What a view has of those who use it.
  private struct Kept {
    let isNew: Bool
    let grants: [String]
    let options: [String]
  }

  private func makeSchema(on connection: Connection) async throws {
    let views = catalog.viewSchema
    let exists = try await connection.execute(Self.schemaExists, Parameters(views)).bool(0, 0)
    guard !exists else { return }
    try await connection.createSchema(views)
    for role in ["reader", "writer"] {
      try await grant("USAGE ON SCHEMA \(Statement.quoted(views))", to: "\(catalog.store.name)_\(role)", connection)
    }
  }

  /// Where there is such a role.
  private func grant(_ privilege: String, to role: String, _ connection: Connection) async throws {
    guard try await connection.execute(Self.roleExists, Parameters(role)).bool(0, 0) else { return }
    try await connection.script("GRANT \(privilege) TO \(Statement.quoted(role))")
  }

  private static let schemaExists = Statement("SELECT to_regnamespace(quote_ident($1)) IS NOT NULL")
  static let roleExists = Statement("SELECT to_regrole(quote_ident($1)) IS NOT NULL")
}
