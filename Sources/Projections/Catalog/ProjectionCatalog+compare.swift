public import EventStore
internal import FoundationEssentials
internal import PostgreSQL

/// What differs between two builds of a projection, both at the same position.
public struct ProjectionComparison: Sendable, Hashable {
  /// What differs in a table that both builds have.
  public struct TableComparison: Sendable, Hashable {
    /// Without a schema.
    public let table: String
    /// In only one of the two.
    public let columnsOnlyInLive: [String]
    /// In the build that the live one is compared with, and not in that.
    public let columnsOnlyInNew: [String]
    /// `name: type in live → type in new`, or their collations; their values are compared as text.
    public let columnsOfOtherType: [String]
    /// All rows of the live table …
    public let rowsInLive: Int
    /// … and of the other one.
    public let rowsInNew: Int
    /// By primary key; where the keys are not the same columns, by whole rows of the columns that both have.
    public let rowsOnlyInLive: Int
    /// Counted as ``rowsOnlyInLive``.
    public let rowsOnlyInNew: Int
    /// Under the same primary key, in columns that both have; 0 where rows are compared as wholes.
    public let rowsThatDiffer: Int
    /// Some of the rows that differ, or are in one only, in order; at most as many as were asked for.
    public let samples: [Sample]
    /// Whether rows were found by a primary key.
    public let isByKey: Bool

    /// Columns, their types and all rows are the same.
    public var isSame: Bool {
      columnsOnlyInLive.isEmpty && columnsOnlyInNew.isEmpty && columnsOfOtherType.isEmpty && hasSameRows
    }
    /// All rows are the same, as far as columns go that both have.
    public var hasSameRows: Bool { rowsOnlyInLive == 0 && rowsOnlyInNew == 0 && rowsThatDiffer == 0 }
  }

  /// Rows as JSON; `nil`: there is none.
  public struct Sample: Sendable, Hashable {
    /// In the live build.
    public let live: String?
    /// In the one that it is compared with.
    public let new: String?
  }

  /// Declared by its author; from 1.
  public let liveVersion: Int
  /// Of the build that the live one is compared with: the new or the previous one.
  public let newVersion: Int
  /// Where both are.
  public let position: Position
  /// By name, without a schema.
  public let tablesOnlyInLive: [String]
  /// By name, without a schema.
  public let tablesOnlyInNew: [String]
  /// Those that both have.
  public let tables: [TableComparison]

  /// Tables, columns and rows are the same.
  public var isSame: Bool { tablesOnlyInLive.isEmpty && tablesOnlyInNew.isEmpty && tables.allSatisfy(\.isSame) }
}

extension ProjectionCatalog {
  /// Compares the live build with another one, at one position of the log: the one that is behind is brought to where
  /// the other is, which waits for that; from then on both go on, and the comparison is of that moment.
  ///
  /// - Parameters:
  ///   - role: The new build, or the previous one.
  ///   - samples: So many rows that differ, a table.
  ///   - projections: What is in code: to bring one to the other here. Without it, both must come to rest by themselves.
  /// - Throws: ``ProjectionError``: `noBuild`, `notCaughtUp`, `stopped`, `busy`.
  public func compare(
    _ name: String, with role: ProjectionBuild.Role = .new, samples: Int = 10, within timeout: Duration = .seconds(30),
    code projections: [any Projection] = []
  ) async throws -> ProjectionComparison {
    let deadline = ContinuousClock.now + timeout
    var pause = Duration.milliseconds(10)
    while true {
      let roles = try await roles(of: name)
      guard let live = roles[.live] else { throw ProjectionError.noBuild(name: name, .live) }
      guard let new = roles[role] else { throw ProjectionError.noBuild(name: name, role) }
      for build in [live, new] {
        guard build.kind != .external else {
          throw ProjectionError.invalid("\(name) writes elsewhere: there is nothing to compare here")
        }
        guard build.caughtUpAt != nil else {
          throw ProjectionError.notCaughtUp(name: name, behind: try await lag(of: build).events)
        }
      }
      do {
        if let result = try await tryCompare(live, new, samples, projections.map { .swift($0) }) { return result }
      } catch let error as PostgreSQLError where error.sqlState == "55P03" || error.sqlState == "ESP01" {
        // A runner holds it, or loads it again after a pause: it is worth waiting.
      }
      guard ContinuousClock.now < deadline else {
        throw ProjectionError.busy(name: name, what: "a moment at which both builds are at the same position,")
      }
      try await Task.sleep(for: pause)
      pause = min(pause * 2, .milliseconds(250))
    }
  }

  /// - Returns: `nil`: they were not at one position; it is worth trying again.
  private func tryCompare(
    _ live: ProjectionBuild, _ new: ProjectionBuild, _ samples: Int, _ code: [Definition]
  ) async throws -> ProjectionComparison? {
    let reader = try await Connection.connect(log.configuration.connection)
    defer { reader.close() }
    // With connections of its own: see there.
    let position = try await withOwnConnections { try await $0.meet(live, new, code, reader) }
    guard let position else { return nil }
    // In one snapshot, which is taken now.
    defer { _ = reader.send(Connection.rollback) }
    return try await compare(live, new, Position(position), samples, on: reader)
  }

  /// Takes a snapshot, on `reader`, in which both builds are at the same position.
  private func meet(
    _ live: ProjectionBuild, _ new: ProjectionBuild, _ code: [Definition], _ reader: Connection
  ) async throws -> Int64? {
    guard live.number != new.number, let definition = try await definition(of: new, in: code) else {
      // Not to be moved here: perhaps they rest at the same place.
      return try await snapshot(live, new, on: reader)
    }
    guard try await bringNear(new, definition) else { return nil }
    // Nobody else would bring the live one to where the new one is.
    if live.process == nil, !live.isEngaged, live.position < new.position {
      guard let definition = try await self.definition(of: live, in: code) else { return nil }
      let run = LeasedRun(catalog: self, build: live, definition: definition, options: .init())
      guard try await run.run(progress: RunProgress()) else { return nil }
    }
    let mover = try await BuildTarget.connect(to: new, log)
    defer { mover.close() }
    let holder = try await Connection.connect(log.configuration.connection)
    // Ends its transaction, and lets the live build's runner go on, or the appends.
    defer { holder.close() }
    try await holder.script("BEGIN; SET LOCAL lock_timeout TO '\(live.isEngaged ? "50ms" : "5s")'")
    // The new one is held first, so that the live one is the one that is ahead; it waits only until the snapshot is there.
    let isMoved = try await mover.inTransaction { _ in
      try await lockTables(of: new, on: mover)
      let from = try await mover.execute(queries.lockCheckpoint, Parameters(Int32(new.number))).int64(0, 0)
      let goal: Int64
      if live.isEngaged {
        // It is where the log is, which appends must not move now.
        try await holder.execute(queries.lockLog)
        goal = try await holder.execute(queries.end).int64(0, 0)
      } else {
        goal = try await holder.execute(queries.lockCheckpoint, Parameters(Int32(live.number))).int64(0, 0)
      }
      if from >= goal { return from == goal }
      return try await apply(
        new, definition, after: from, upTo: goal, atMost: live.isEngaged ? 200 : Self.lastGap, on: mover)
    }
    return isMoved ? try await snapshot(live, new, on: reader) : nil
  }

  /// Takes a snapshot. A runner whose checkpoint was moved by us looks where it is, which takes it longer than this.
  private func snapshot(
    _ live: ProjectionBuild, _ new: ProjectionBuild, on reader: Connection
  ) async throws -> Int64? {
    try await reader.script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL TimeZone TO 'UTC'")
    let position = try await commonPosition(live, new, on: reader)
    if position == nil { try await reader.script("ROLLBACK") }
    return position
  }

  private func commonPosition(
    _ live: ProjectionBuild, _ new: ProjectionBuild, on connection: Connection
  ) async throws -> Int64? {
    let left = try await connection.execute(queries.checkpoints, Parameters(Int32(live.number)))
    let right = try await connection.execute(queries.checkpoints, Parameters(Int32(new.number)))
    guard left.count == 1, right.count == 1 else { return nil }
    let end = live.isEngaged ? try await connection.execute(queries.end).int64(0, 0) : left.int64(0, 1)
    return right.int64(0, 1) == end ? end : nil
  }

  // MARK: Rows

  private struct Column {
    let name: String
    let live: String?
    let new: String?
    let liveKey: Int?
    let newKey: Int?
    let isComparable: Bool
  }

  private func compare(
    _ live: ProjectionBuild, _ new: ProjectionBuild, _ position: Position, _ samples: Int, on connection: Connection
  ) async throws -> ProjectionComparison {
    let (left, right) = (live.tableSchema(of: store), new.tableSchema(of: store))
    let rows = try await connection.execute(queries.columns, Parameters(left, right))
    var tables: [(name: String, columns: [Column])] = []
    for row in rows.indices {
      func place(_ column: Int) -> Int? { rows.isNull(row, column) ? nil : Int(rows.int32(row, column)) }
      func type(_ column: Int) -> String? { rows.isNull(row, column) ? nil : rows.text(row, column) }
      let column = Column(
        name: rows.text(row, 1), live: type(2), new: type(3), liveKey: place(4), newKey: place(5),
        isComparable: rows.bool(row, 6))
      if tables.last?.name != rows.text(row, 0) { tables.append((rows.text(row, 0), [])) }
      tables[tables.count - 1].columns.append(column)
    }
    let onlyLive = tables.filter { $0.columns.allSatisfy { $0.new == nil } }.map(\.name)
    let onlyNew = tables.filter { $0.columns.allSatisfy { $0.live == nil } }.map(\.name)
    var compared: [ProjectionComparison.TableComparison] = []
    for table in tables where !onlyLive.contains(table.name) && !onlyNew.contains(table.name) {
      compared.append(try await compare(table.name, table.columns, left, right, samples, connection))
    }
    return ProjectionComparison(
      liveVersion: live.version, newVersion: new.version, position: position, tablesOnlyInLive: onlyLive,
      tablesOnlyInNew: onlyNew, tables: compared)
  }

  private func compare(
    _ table: String, _ columns: [Column], _ left: String, _ right: String, _ samples: Int, _ connection: Connection
  ) async throws -> ProjectionComparison.TableComparison {
    let common = columns.filter { $0.live != nil && $0.new != nil }
    let keys = common.filter { $0.liveKey != nil && $0.liveKey == $0.newKey }
    let isByKey =
      !keys.isEmpty
      && columns.allSatisfy {
        ($0.liveKey != nil || $0.newKey != nil) == ($0.liveKey == $0.newKey && $0.liveKey != nil)
      }
    let sql = RowComparison(
      live: "\(Statement.quoted(left)).\(Statement.quoted(table))",
      new: "\(Statement.quoted(right)).\(Statement.quoted(table))",
      keys: isByKey ? keys.map { ($0.name, $0.isComparable) } : [], common: common.map { ($0.name, $0.isComparable) })
    let counts = try await connection.execute(Statement(sql.counts), timeout: .seconds(86400))
    let found = try await connection.execute(Statement(sql.samples), Parameters(samples), timeout: .seconds(86400))
    return ProjectionComparison.TableComparison(
      table: table, columnsOnlyInLive: columns.filter { $0.new == nil }.map(\.name),
      columnsOnlyInNew: columns.filter { $0.live == nil }.map(\.name),
      columnsOfOtherType: common.filter { $0.live != $0.new }.map { "\($0.name): \($0.live ?? "") → \($0.new ?? "")" },
      rowsInLive: Int(counts.int64(0, 0)), rowsInNew: Int(counts.int64(0, 1)), rowsOnlyInLive: Int(counts.int64(0, 2)),
      rowsOnlyInNew: Int(counts.int64(0, 3)), rowsThatDiffer: Int(counts.int64(0, 4)),
      samples: found.indices.map {
        ProjectionComparison.Sample(
          live: found.isNull($0, 0) ? nil : found.text($0, 0), new: found.isNull($0, 1) ? nil : found.text($0, 1))
      },
      isByKey: isByKey)
  }
}

/// The statements that compare two tables.
private struct RowComparison {
  let live: String
  let new: String
  /// Empty: rows are compared as wholes, and counted.
  let keys: [(name: String, isComparable: Bool)]
  let common: [(name: String, isComparable: Bool)]

  private func value(_ side: String, _ column: (name: String, isComparable: Bool)) -> String {
    let name = "\(side).\(Statement.quoted(column.name))"
    return column.isComparable ? name : "\(name)::text COLLATE \"C\""
  }

  private var joined: String {
    guard !keys.isEmpty else {
      let list = common.map { Statement.quoted($0.name) }.joined(separator: ", ")
      func rows(_ table: String) -> String {
        "(SELECT r AS row, count(*) AS n FROM (SELECT row_to_json(c.*)::text AS r FROM (SELECT \(list) FROM \(table)) c) t GROUP BY r)"
      }
      return "\(rows(live)) l FULL JOIN \(rows(new)) n ON n.row = l.row"
    }
    let condition = keys.map { "\(value("n", $0)) = \(value("l", $0))" }.joined(separator: " AND ")
    return "\(live) l FULL JOIN \(new) n ON \(condition)"
  }

  private var differs: String {
    guard !keys.isEmpty else { return "coalesce(l.n, 0) <> coalesce(n.n, 0)" }
    let names = Set(keys.map(\.name))
    let rest = common.filter { !names.contains($0.name) }
    guard !rest.isEmpty else { return "false" }
    let (left, right) = (rest.map { value("l", $0) }, rest.map { value("n", $0) })
    return "(\(left.joined(separator: ", "))) IS DISTINCT FROM (\(right.joined(separator: ", ")))"
  }

  private var isOnlyLive: String { keys.isEmpty ? "coalesce(l.n, 0) > coalesce(n.n, 0)" : "n.\(key) IS NULL" }
  private var isOnlyNew: String { keys.isEmpty ? "coalesce(n.n, 0) > coalesce(l.n, 0)" : "l.\(key) IS NULL" }
  private var key: String { Statement.quoted(keys[0].name) }

  var counts: String {
    guard !keys.isEmpty else {
      return """
        SELECT coalesce(sum(l.n), 0)::bigint, coalesce(sum(n.n), 0)::bigint,
               coalesce(sum(greatest(coalesce(l.n, 0) - coalesce(n.n, 0), 0)), 0)::bigint,
               coalesce(sum(greatest(coalesce(n.n, 0) - coalesce(l.n, 0), 0)), 0)::bigint, 0::bigint
          FROM \(joined)
        """
    }
    return """
      SELECT count(l.\(key)), count(n.\(key)), count(*) FILTER (WHERE \(isOnlyLive)),
             count(*) FILTER (WHERE \(isOnlyNew)),
             count(*) FILTER (WHERE l.\(key) IS NOT NULL AND n.\(key) IS NOT NULL AND \(differs))
        FROM \(joined)
      """
  }

  var samples: String {
    let rows =
      keys.isEmpty
      ? "CASE WHEN \(isOnlyLive) THEN l.row END, CASE WHEN \(isOnlyNew) THEN n.row END"
      : "CASE WHEN NOT \(isOnlyNew) THEN row_to_json(l.*)::text END, CASE WHEN NOT \(isOnlyLive) THEN row_to_json(n.*)::text END"
    let order =
      keys.isEmpty
      ? "1, 2"
      : keys.map { "coalesce(\(value("l", $0)), \(value("n", $0)))" }.joined(separator: ", ")
    return """
      SELECT \(rows)
        FROM \(joined)
       WHERE \(isOnlyLive)
          OR \(isOnlyNew)
          OR \(differs)
       ORDER BY \(keys.isEmpty ? "1, 2" : order)
       LIMIT $1
      """
  }
}
