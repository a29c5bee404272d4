internal import EventStore
internal import PostgreSQL

extension ProjectionCatalog {
  /// Removes the new build, without trace.
  ///
  /// - Throws: ``ProjectionError``: `notFound`, `noBuild`.
  public func abandon(_ name: String) async throws { try await remove(name, .new) }

  /// Removes the previous build: from then on there is no way back to it.
  ///
  /// - Throws: ``ProjectionError``: `notFound`, `noBuild`.
  public func retire(_ name: String) async throws { try await remove(name, .previous) }

  private func remove(_ name: String, _ role: ProjectionBuild.Role) async throws {
    let build = try await build(of: name, as: role)
    let connection = try await Connection.connect(log.configuration.connection)
    defer { connection.close() }
    try await connection.inTransaction { _ in
      // The tables first, as a runner takes them: his last transaction ends before, his next one finds no checkpoint.
      try await connection.script(
        "DROP SCHEMA IF EXISTS \(Statement.quoted(build.tableSchema(of: store))) CASCADE")
      let locked = try await connection.execute(queries.lockBuilds, Parameters(name))
      // Switched to at the same moment: then its views went with the tables, so nothing of this may stay.
      guard
        locked.indices.contains(where: { locked.int32($0, 0) == build.number && locked.text($0, 1) == role.rawValue })
      else { throw ProjectionError.noBuild(name: name, role) }
      try await connection.execute(queries.remove, Parameters(Int32(build.number)))
    }
  }

  /// Empties the live build's tables, which are then filled again from the beginning of the log, in sight of readers. A
  /// rebuild beside it is the way without that.
  ///
  /// - Throws: ``ProjectionError``.
  public func reset(_ name: String) async throws {
    let build = try await build(of: name, as: .live)
    guard !build.isEngaged else {
      throw ProjectionError.invalid(
        "\(name) is inline: it is rebuilt beside the live one, with `esctl projections rebuild`")
    }
    let connection = try await Connection.connect(log.configuration.connection)
    defer { connection.close() }
    try await connection.inTransaction { _ in
      let tables = try await connection.execute(Self.tables, Parameters(build.tableSchema(of: store)))
      if !tables.isEmpty {
        let names = tables.indices.map { tables.text($0, 0) }.joined(separator: ", ")
        try await connection.script("TRUNCATE \(names) RESTART IDENTITY CASCADE")
      }
      let locked = try await connection.execute(queries.lockBuilds, Parameters(name))
      let current = try await self.build(numbered: build.number)
      guard locked.indices.contains(where: { locked.int32($0, 0) == build.number }), current?.role == .live,
        current?.isEngaged == false
      else { throw ProjectionError.busy(name: name, what: "the live build") }
      // A load that begins at the same moment begins after this, or is undone by it.
      try await connection.execute(queries.lockCheckpoint, Parameters(Int32(build.number)))
      try await connection.execute(queries.reset, Parameters(Int32(build.number)))
      try await connection.execute(queries.resetCheckpoint, Parameters(Int32(build.number)))
      try await connection.execute(queries.resetSkipped, Parameters(Int32(build.number)))
    }
  }

  static let tables = Statement(
    "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname = $1")
}
