public import EventStore
public import FoundationEssentials
internal import PostgreSQL

/// An event that a projection could not apply and passed over.
public struct SkippedEvent: Sendable, Hashable {
  public let projection: String
  /// Of which build.
  public let build: Int
  /// Which the build has now, not when it passed over the event.
  public let role: ProjectionBuild.Role
  /// Of the event, as are the next four.
  public let position: Position
  public let stream: String
  /// In its stream, from 1.
  public let version: Int
  public let type: String
  public let id: UUID
  /// Why it could not be applied. Of an error of your own, its `description`: no payload belongs into that.
  public let problem: String
  /// When it was passed over, by the server's clock.
  public let at: Date
}

extension ProjectionCatalog {
  /// Skipped events in the order of the log.
  ///
  /// - Parameter name: Of one projection; `nil`: of all.
  public func skipped(
    of name: String? = nil, after position: Position = .start, limit: Int = 1000
  ) async throws -> [SkippedEvent] {
    if let name { _ = try await roles(of: name) }
    let rows = try await log.pool.execute(queries.skipped, Parameters(name, position.rawValue, limit))
    return rows.indices.compactMap { row in
      guard let role = ProjectionBuild.Role(rawValue: rows.text(row, 2)) else { return nil }
      return SkippedEvent(
        projection: rows.text(row, 0), build: Int(rows.int32(row, 1)), role: role,
        position: Position(rows.int64(row, 3)),
        stream: rows.text(row, 4), version: Int(rows.int64(row, 5)), type: rows.text(row, 6), id: rows.uuid(row, 7),
        problem: rows.text(row, 8), at: rows.date(row, 9))
    }
  }

  /// Applies a skipped event now, after those that came later, and strikes it from the list, in one transaction.
  ///
  /// - Throws: Why it still cannot be applied; then it stays in the list. ``ProjectionError``.
  public func retry(_ event: SkippedEvent, code projections: [any Projection] = []) async throws {
    guard let build = try await build(numbered: event.build) else {
      throw ProjectionError.noBuild(name: event.projection, event.role)
    }
    guard let definition = try await definition(of: build, in: projections.map { .swift($0) }) else {
      throw ProjectionError.codeMissing(name: event.projection, kind: build.kind)
    }
    guard
      let recorded = try await log.read(StreamName(event.stream), StreamRange(versions: event.version...event.version))
        .collect().first
    else { throw ProjectionError.invalid("\(event.stream) has no version \(event.version)") }
    let connection = try await BuildTarget.connect(to: build, log)
    defer { connection.close() }
    try await connection.inTransaction { transaction in
      let struck = try await connection.execute(
        queries.unskip, Parameters(Int32(build.number), event.position.rawValue))
      guard struck.affected == 1 else { return }
      try await apply([recorded], to: build, definition, on: connection)
    }
  }
}
