internal import EventStore
internal import PostgreSQL
internal import Replay

extension ProjectionCatalog {
  /// Makes the new build live, in one transaction: readers see the old tables up to then, the new ones from then on. The
  /// live one becomes the previous, and is kept up to date.
  ///
  /// It must have caught up once. What it lacks of the live one's events it is given in the same transaction, so that
  /// readers do not go back in time.
  ///
  /// - Parameters:
  ///   - timeout: How long to wait for readers that hold the views, and for transactions whose snapshot is from before the
  ///     build had caught up.
  ///   - projections: What is in code: to close the last gap here.
  /// - Throws: ``ProjectionError``.
  public func switchOver(
    _ name: String, within timeout: Duration = .seconds(30), code projections: [any Projection] = []
  ) async throws {
    try await switchOver(name, within: timeout, codeOf: projections.map { .swift($0) })
  }

  func switchOver(_ name: String, within timeout: Duration, codeOf definitions: [Definition]) async throws {
    let roles = try await roles(of: name)
    guard let new = roles[.new] else { throw ProjectionError.noBuild(name: name, .new) }
    if let previous = roles[.previous] {
      throw ProjectionError.exists(name: name, .previous, version: previous.version)
    }
    try await withOwnConnections { catalog in
      try await catalog.exchange(name, bringing: new, leaving: .previous, within: timeout, definitions)
    }
  }

  /// Makes the previous build live again, in one transaction. The other one becomes the new build: to be looked at,
  /// switched to again, or abandoned.
  ///
  /// - Throws: ``ProjectionError``.
  public func rollback(
    _ name: String, within timeout: Duration = .seconds(30), code projections: [any Projection] = []
  ) async throws {
    let roles = try await roles(of: name)
    guard let previous = roles[.previous] else { throw ProjectionError.noBuild(name: name, .previous) }
    if let new = roles[.new] { throw ProjectionError.exists(name: name, .new, version: new.version) }
    try await withOwnConnections { catalog in
      try await catalog.exchange(
        name, bringing: previous, leaving: .new, within: timeout, projections.map { .swift($0) })
    }
  }

  private func exchange(
    _ name: String, bringing build: ProjectionBuild, leaving other: ProjectionBuild.Role, within timeout: Duration,
    _ code: [Definition]
  ) async throws {
    let deadline = ContinuousClock.now + timeout
    let definition = try await definition(of: build, in: code)
    try await checkReady(build)
    var pause = Duration.milliseconds(10)
    while true {
      do {
        if try await tryExchange(name, build, definition, leaving: other) { return }
        guard ContinuousClock.now < deadline else {
          throw ProjectionError.busy(
            name: name, what: "the last events of the new build, or a transaction that is older than it,")
        }
      } catch let error as PostgreSQLError where error.sqlState == "55P03" || error.sqlState == "ESP01" {
        guard ContinuousClock.now < deadline else {
          throw ProjectionError.busy(name: name, what: "the views or tables")
        }
      }
      try await Task.sleep(for: pause)
      pause = min(pause * 2, .milliseconds(250))
    }
  }

  private func checkReady(_ build: ProjectionBuild) async throws {
    if let failure = build.failure {
      throw ProjectionError.stopped(name: build.name, version: build.version, failure)
    }
    guard build.caughtUpAt != nil else {
      throw ProjectionError.notCaughtUp(name: build.name, behind: try await lag(of: build).events)
    }
  }

  /// So many events are applied while the live build waits; for more, without that.
  static let lastGap = 2_000

  /// - Returns: Whether it was done; else the build was behind, or a reader's snapshot is too old, and it is worth trying
  ///   again.
  private func tryExchange(
    _ name: String, _ build: ProjectionBuild, _ definition: Definition?, leaving other: ProjectionBuild.Role
  ) async throws -> Bool {
    guard var current = try await self.build(numbered: build.number) else {
      throw ProjectionError.noBuild(name: name, build.role)
    }
    if current.pausedAt != nil { throw ProjectionError.paused(name: name) }
    try await checkReady(current)
    guard try await bringNear(current, definition), let again = try await self.build(numbered: build.number) else {
      return false
    }
    current = again
    // Looked at before others are held up for it, and again when they are.
    guard try await log.pool.execute(queries.oldSnapshots, Parameters(Int32(current.number))).isEmpty else {
      return false
    }
    let connection = try await BuildTarget.connect(to: current, log)
    defer { connection.close() }
    return try await connection.inTransaction { _ in
      // Readers, and appends where they are held up, must not wait long behind this transaction, which waits for others.
      try await connection.script("SET LOCAL lock_timeout TO '50ms'; SET LOCAL synchronous_commit TO on")
      let old = try await builds(of: name).first { $0.role == .live }
      let holdsAppends = current.isInline || old?.isEngaged ?? false
      if holdsAppends { try await holdAppends(on: connection) }
      try await lockTables(of: current, on: connection)
      let locked = try await connection.execute(queries.lockBuilds, Parameters(name))
      let roles = Dictionary(
        locked.indices.map { (Int(locked.int32($0, 0)), locked.text($0, 1)) }, uniquingKeysWith: { $1 })
      guard roles[current.number] == current.role.rawValue else { return false }
      let live = roles.first { $0.value == ProjectionBuild.Role.live.rawValue }?.key
      // Both as they are now that nobody can change them.
      let held = try await builds(of: name).first { $0.role == .live }
      guard live == old?.number, held?.isEngaged == old?.isEngaged else { return false }
      // Before the gap is closed, which may notify others: one that is as old as this does not come any more.
      guard try await connection.execute(queries.oldSnapshots, Parameters(Int32(current.number))).isEmpty else {
        return false
      }
      if holdsAppends {
        guard try await closeToEnd(current, definition, from: old, connection) else { return false }
      } else if let live {
        guard try await close(current, to: live, definition, connection) else { return false }
      }
      if current.kind != .external {
        try await ProjectionViews(catalog: self, name: name).show(current, on: connection)
      }
      if let old {
        try await connection.execute(queries.setRole, Parameters(Int32(old.number), other.rawValue))
        if old.isEngaged { try await connection.execute(queries.engage, Parameters(Int32(old.number), false)) }
      }
      if current.isInline { try await engage(current, on: connection) }
      try await connection.execute(
        queries.setRole, Parameters(Int32(current.number), ProjectionBuild.Role.live.rawValue))
      return true
    }
  }

  /// Waits for a runner's transaction and keeps the next one off. As he does, before the checkpoint: else each could wait for
  /// the other.
  func lockTables(of build: ProjectionBuild, on connection: Connection) async throws {
    let tables = try await connection.execute(Self.tables, Parameters(build.tableSchema(of: store)))
    guard !tables.isEmpty else { return }
    let names = tables.indices.map { tables.text($0, 0) }.joined(separator: ", ")
    try await connection.script("LOCK TABLE \(names) IN SHARE ROW EXCLUSIVE MODE")
  }

  /// Brings a build as far as the live one, whose checkpoint is held from now on.
  ///
  /// - Returns: `false`: it could not be done here.
  private func close(
    _ build: ProjectionBuild, to live: Int, _ definition: Definition?, _ connection: Connection
  ) async throws -> Bool {
    let goal = try await connection.execute(queries.lockCheckpoint, Parameters(Int32(live))).int64(0, 0)
    let from = try await connection.execute(queries.lockCheckpoint, Parameters(Int32(build.number))).int64(0, 0)
    // While one is loaded in parallel, parts of it are ahead of its checkpoint.
    for number in [live, build.number] {
      let parts = try await connection.execute(queries.checkpoints, Parameters(Int32(number))).count
      guard parts == 1 else { return false }
    }
    guard from < goal else { return true }
    guard let definition else { return false }
    return try await apply(build, definition, after: from, upTo: goal, on: connection)
  }

  /// Keeps appends off until the transaction ends. They wait from the moment this does: so it waits only a little, for those
  /// under way, and even less for anything that comes after.
  private func holdAppends(on connection: Connection, within milliseconds: Int = 40) async throws {
    try await connection.script("SET LOCAL lock_timeout TO \(milliseconds)")
    try await connection.execute(queries.lockLog)
    try await connection.script("SET LOCAL lock_timeout TO '10ms'")
  }

  /// Brings a build to the end of the log, to which nobody can append at this moment.
  ///
  /// - Parameter live: The build that it takes over from. What that one has not applied any more has its side effects here.
  /// - Returns: `false`: it could not be done here, or would take too long.
  private func closeToEnd(
    _ build: ProjectionBuild, _ definition: Definition?, from live: ProjectionBuild?, _ connection: Connection
  ) async throws -> Bool {
    let end = try await connection.execute(queries.end).int64(0, 0)
    var notified: Int64?
    if let live, !live.isEngaged {
      notified = try await connection.execute(queries.lockCheckpoint, Parameters(Int32(live.number))).int64(0, 0)
    }
    let from = try await connection.execute(queries.lockCheckpoint, Parameters(Int32(build.number))).int64(0, 0)
    guard try await connection.execute(queries.checkpoints, Parameters(Int32(build.number))).count == 1 else {
      return false
    }
    guard from < end else { return true }
    guard let definition else { return false }
    return try await apply(
      build, definition, after: from, upTo: end, atMost: 200, notifyingAfter: notified, on: connection)
  }

  /// Has the appends apply a build from the end of this transaction on; their role must be allowed to.
  private func engage(_ build: ProjectionBuild, on connection: Connection) async throws {
    try await connection.execute(queries.engage, Parameters(Int32(build.number), true))
    let (schema, writer) = (Statement.quoted(build.tableSchema(of: store)), "\(store.name)_writer")
    guard try await connection.execute(ProjectionViews.roleExists, Parameters(writer)).bool(0, 0) else { return }
    try await connection.script(
      """
      GRANT USAGE ON SCHEMA \(schema) TO \(writer);
      GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \(schema) TO \(writer);
      GRANT USAGE ON ALL SEQUENCES IN SCHEMA \(schema) TO \(writer)
      """)
  }

  /// Has the appends apply a live build that is inline and has followed the log until now.
  ///
  /// - Parameter approach: Applies what there is, just before appends are held up: when all is ready for it. What it throws
  ///   is the caller's: events that it has read and not applied must not be passed over.
  /// - Returns: Whether it was done; else it is worth trying again.
  func engage(
    _ build: ProjectionBuild, _ definition: Definition, approach: () async throws -> Void
  ) async throws -> Bool {
    try await withOwnConnections { own in
      let connection = try await BuildTarget.connect(to: build, log)
      defer { connection.close() }
      try await approach()
      do {
        return try await own.engageNow(build, definition, on: connection)
      } catch let error as PostgreSQLError where error.sqlState == "55P03" || error.sqlState == "ESP01" {
        return false
      }
    }
  }

  private func engageNow(
    _ build: ProjectionBuild, _ definition: Definition, on connection: Connection
  ) async throws -> Bool {
    try await connection.inTransaction { _ in
      try await connection.script("SET LOCAL synchronous_commit TO on")
      try await holdAppends(on: connection)
      try await lockTables(of: build, on: connection)
      let current = try await self.build(numbered: build.number)
      guard let current, current.role == .live, !current.isEngaged, current.pausedAt == nil else { return false }
      guard try await closeToEnd(current, definition, from: nil, connection) else { return false }
      try await engage(current, on: connection)
      return true
    }
  }

  /// Lets appends go on without an inline build, which from then on follows the log.
  ///
  /// Appends that wait for the build's tables are always under way, one after the other: waiting longer each time, at last
  /// longer than any of them does, it comes between them.
  func disengage(_ build: ProjectionBuild, within timeout: Duration) async throws {
    let deadline = ContinuousClock.now + timeout
    var pause = Duration.milliseconds(20)
    var patience = 40
    while true {
      let connection = try await BuildTarget.connect(to: build, log)
      defer { connection.close() }
      do {
        return try await connection.inTransaction { _ in
          try await connection.script("SET LOCAL synchronous_commit TO on")
          try await holdAppends(on: connection, within: patience)
          try await connection.execute(queries.setPaused, Parameters(Int32(build.number), true))
          try await connection.execute(queries.engage, Parameters(Int32(build.number), false))
        }
      } catch let error as PostgreSQLError where error.sqlState == "55P03" {
        guard ContinuousClock.now < deadline else { throw ProjectionError.busy(name: build.name, what: "the log") }
      }
      patience = min(patience * 2, Int(InlineSettings.lockTimeout / .milliseconds(1)) * 3 / 2)
      try await Task.sleep(for: pause)
      pause = min(pause * 2, .seconds(1))
    }
  }

  /// Applies the events of a gap inside a transaction, and moves the checkpoint.
  ///
  /// - Parameter notified: Events after it have their side effects; `nil`: as the build has.
  /// - Returns: `false`: they are too many to hold up others for them.
  func apply(
    _ build: ProjectionBuild, _ definition: Definition, after from: Int64, upTo goal: Int64, atMost most: Int = lastGap,
    notifyingAfter notified: Int64? = nil, on connection: Connection
  ) async throws -> Bool {
    var events: [RecordedEvent] = []
    for try await event in log.readDecided(after: Position(from), upTo: Position(goal), where: definition.filter) {
      events.append(event)
      if events.count > most { return false }
    }
    if case .external = definition { return false }
    let first = events.prefix { event in notified.map { event.position.rawValue <= $0 } ?? true }
    if !first.isEmpty { try await apply(Array(first), to: build, definition, on: connection) }
    let rest = events.dropFirst(first.count)
    if !rest.isEmpty { try await apply(Array(rest), to: build, definition, sideEffects: true, on: connection) }
    try await connection.execute(
      queries.advance,
      Parameters(
        Int32(build.number), BinaryArray([PartWriter.whole]), BinaryArray([from]), goal, Int64(events.count)))
    return true
  }

  /// Applies events inside a transaction.
  ///
  /// - Parameter sideEffects: Default: as the build has.
  func apply(
    _ events: [RecordedEvent], to build: ProjectionBuild, _ definition: Definition, sideEffects: Bool? = nil,
    on connection: Connection
  ) async throws {
    switch definition {
    case .sql(let model):
      let statements = try await ModelStatements(
        model, tableSchema: build.tableSchema(of: store), on: connection, store: store, codec)
      try await statements.finish(statements.send(try statements.encode(events), on: connection))
    case .swift(let projection):
      let batch = ProjectionBatch(
        events: events, build: build.number, codec: codec, isLive: build.role == .live,
        sideEffects: sideEffects ?? build.hasSideEffects)
      try await projection.apply(batch, in: Transaction(connection))
    case .external, .elsewhere:
      throw ProjectionError.invalid("\(build.name) writes elsewhere: only the service that runs it can apply an event")
    }
  }

  /// Runs a build up to the end of the log, if it is far behind and nobody runs it.
  ///
  /// - Returns: Whether the last gap is small.
  func bringNear(_ build: ProjectionBuild, _ definition: Definition?) async throws -> Bool {
    guard try await lag(of: build, countingTo: Self.lastGap + 1).events > Self.lastGap else { return true }
    guard build.process == nil, let definition else { return false }
    let run = LeasedRun(catalog: self, build: build, definition: definition, options: .init())
    return try await run.run(progress: RunProgress())
  }
}
