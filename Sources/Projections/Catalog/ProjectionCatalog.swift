public import EventStore
internal import FoundationEssentials
internal import PostgreSQL
internal import Replay

/// The projections of a store: what there is, how far it is, and what an operator does with it.
///
/// What it changes, whoever runs a projection sees within half a second.
public struct ProjectionCatalog: Sendable {
  let log: PostgreSQLEventLog
  let codec: EventCodec
  let queries: ProjectionQueries

  /// - Parameter codec: Its upcasters raise older payloads.
  public init(_ log: PostgreSQLEventLog, codec: EventCodec = EventCodec()) {
    self.log = log
    self.codec = codec
    queries = ProjectionQueries(log.configuration.schema)
  }

  var store: SchemaName { log.configuration.schema }

  /// The PostgreSQL schema of the views that readers use.
  public var viewSchema: String { "\(store.name)_views" }

  /// This catalog on a pool of its own: for whoever holds locks that those wait for who have the other pool's connections.
  func withOwnConnections<R>(_ body: (ProjectionCatalog) async throws -> R) async throws -> R {
    try await PostgreSQLEventLog.withLog(log.configuration) { try await body(ProjectionCatalog($0, codec: codec)) }
  }

  // MARK: Looking

  /// All builds, by name, the older first.
  public func builds(of name: String? = nil) async throws -> [ProjectionBuild] {
    let rows = try await log.pool.execute(queries.builds, Parameters(name))
    return try rows.indices.map { try ProjectionBuild(rows, $0) }
  }

  func build(numbered number: Int) async throws -> ProjectionBuild? {
    try await builds().first { $0.number == number }
  }

  /// A projection's builds by their roles.
  ///
  /// - Throws: ``ProjectionError`` with `notFound`.
  func roles(of name: String) async throws -> [ProjectionBuild.Role: ProjectionBuild] {
    let builds = try await builds(of: name)
    guard !builds.isEmpty else {
      throw ProjectionError.notFound(name: name, known: Set(try await self.builds().map(\.name)).sorted())
    }
    return Dictionary(builds.map { ($0.role, $0) }, uniquingKeysWith: { $1 })
  }

  /// - Throws: ``ProjectionError``: `notFound`, `noBuild`.
  public func build(of name: String, as role: ProjectionBuild.Role) async throws -> ProjectionBuild {
    guard let build = try await roles(of: name)[role] else { throw ProjectionError.noBuild(name: name, role) }
    return build
  }

  /// How far a build is behind the log.
  public struct Lag: Sendable, Hashable {
    /// Events that are still to be applied, counted up to the limit that was given.
    public let events: Int
    /// Since when the first of them waits, in seconds; 0: there is none.
    public let seconds: Double
    /// The last event of the log.
    public let end: Position
  }

  /// How far a build is behind the end of the log.
  ///
  /// - Parameter limit: No more events are counted: as many as this means so many or more.
  /// - Throws: `PostgreSQLError`.
  public func lag(of build: ProjectionBuild, countingTo limit: Int = 10_001) async throws -> Lag {
    let rows = try await log.pool.execute(
      queries.lag,
      Parameters(
        build.position.rawValue, BinaryArray(build.filter.categories), BinaryArray(build.filter.types), limit))
    let since = rows.isNull(0, 1) ? nil : rows.date(0, 1)
    // In the transactions of the appends it is never behind.
    if build.isEngaged { return Lag(events: 0, seconds: 0, end: Position(rows.int64(0, 2))) }
    return Lag(
      events: Int(rows.int64(0, 0)), seconds: since.map { max(0, Date.now.timeIntervalSince($0)) } ?? 0,
      end: Position(rows.int64(0, 2)))
  }

  /// The text of the file that a build was made from; `nil`: it is in code.
  public func source(of build: ProjectionBuild) async throws -> String? {
    let rows = try await log.pool.execute(queries.source, Parameters(Int32(build.number)))
    return rows.isEmpty || rows.isNull(0, 0) ? nil : rows.text(0, 0)
  }

  func definition(of build: ProjectionBuild, in code: [Definition] = []) async throws -> Definition? {
    if build.kind == .sql {
      guard let source = try await source(of: build) else { return nil }
      return .sql(try ReadModel(source, file: build.origin))
    }
    return code.first { $0.name == build.name && $0.version == build.version && $0.kind == build.kind }
  }

  // MARK: Writing down

  /// - Throws: ``ProjectionError`` with `exists`.
  func create(
    _ definition: Definition, goesLive: Bool, sideEffects: Bool = false
  ) async throws -> ProjectionBuild {
    try definition.check()
    let number: Int32
    do throws(PostgreSQLError) {
      number = try await log.pool.execute(
        queries.create,
        Parameters(
          definition.name, Int32(definition.version), ProjectionBuild.Role.new.rawValue, definition.kind.rawValue,
          definition.source, definition.origin, BinaryArray(definition.filter.categories),
          BinaryArray(definition.filter.types), definition.isInline, goesLive, sideEffects)
      ).int32(0, 0)
    } catch {
      guard error.sqlState == "23505" else { throw error }
      let there = try await build(of: definition.name, as: .new)
      throw ProjectionError.exists(name: definition.name, .new, version: there.version)
    }
    guard let build = try await build(numbered: Int(number)) else {
      throw ProjectionError.noBuild(name: definition.name, .new)
    }
    let schema = build.tableSchema(of: store)
    guard schema.utf8.count <= 63 else {
      try await log.pool.execute(queries.remove, Parameters(number))
      throw ProjectionError.invalid(
        "the schema of its tables would be \(schema), longer than PostgreSQL's 63 characters: shorten the name")
    }
    return build
  }

  func set(_ failure: ProjectionFailure?, of build: ProjectionBuild) async throws {
    try await log.pool.execute(queries.setFailure, Parameters(Int32(build.number), failure?.json))
  }

  // MARK: Pausing

  /// Holds all builds of a projection where they are, until they are resumed.
  public func pause(_ name: String) async throws {
    for build in try await roles(of: name).values {
      if build.isEngaged {
        try await disengage(build, within: .seconds(30))
      } else {
        try await log.pool.execute(queries.setPaused, Parameters(Int32(build.number), true))
      }
    }
  }

  /// Lets a projection that is paused or has stopped go on.
  public func resume(_ name: String) async throws {
    for build in try await roles(of: name).values {
      try await log.pool.execute(queries.setPaused, Parameters(Int32(build.number), false))
      try await set(nil, of: build)
    }
  }

  // MARK: Waiting

  /// Waits until the live build has applied everything up to a position: to read what was written.
  ///
  /// - Parameter position: Default: where the log ends now.
  /// - Returns: Where it is.
  /// - Throws: ``ProjectionError``: `timedOut`, `stopped`, `paused`, `noBuild`, `notFound`.
  @discardableResult
  public func wait(
    for name: String, toReach position: Position? = nil, within timeout: Duration = .seconds(10)
  ) async throws -> Position {
    let deadline = ContinuousClock.now + timeout
    var build = try await build(of: name, as: .live)
    let goal: Position
    if let position {
      goal = position
    } else {
      goal = try await lag(of: build, countingTo: 0).end
    }
    var pause = Duration.milliseconds(2)
    while true {
      if build.isEngaged, try await lag(of: build, countingTo: 0).end >= goal { return goal }
      let isThere =
        if build.position >= goal { true } else { try await isPast(goal, build) }
      if isThere { return max(build.position, goal) }
      if let failure = build.failure { throw ProjectionError.stopped(name: name, version: build.version, failure) }
      if build.pausedAt != nil { throw ProjectionError.paused(name: name) }
      // A whole look costs the server more than one at the checkpoint.
      let nextLook = ContinuousClock.now + .milliseconds(100)
      var reached: Int64?
      repeat {
        guard ContinuousClock.now < deadline else {
          throw ProjectionError.timedOut(name: name, waitedFor: goal, reached: build.position)
        }
        try await Task.sleep(for: pause)
        pause = min(pause * 2, .milliseconds(50))
        reached = try await checkpoint(of: build)
      } while ContinuousClock.now < nextLook && reached.map { $0 < goal.rawValue } ?? false
      build = try await self.build(of: name, as: .live)
    }
  }

  /// `nil`: it is gone, or has several.
  private func checkpoint(of build: ProjectionBuild) async throws -> Int64? {
    let rows = try await log.pool.execute(queries.checkpoints, Parameters(Int32(build.number)))
    return rows.count == 1 ? rows.int64(0, 1) : nil
  }

  /// Whether no event between its checkpoint and a position is any of a build's, and all of them are decided.
  private func isPast(_ position: Position, _ build: ProjectionBuild) async throws -> Bool {
    guard build.caughtUpAt != nil, !build.filter.categories.isEmpty || !build.filter.types.isEmpty else { return false }
    let follower = LogFollower(log, after: build.position, build.filter)
    switch try await follower.next() {
    case .events(let events): return events.first.map { $0.position > position } ?? false
    // As far as the log is decided: what is appended and still open may be one of its own.
    case .caughtUp: return try await follower.settled() >= position
    }
  }
}

extension ProjectionFailure {
  var json: String { String(decoding: (try? JSONEncoder().encode(self)) ?? Data("{}".utf8), as: UTF8.self) }

  init(json: String) {
    self =
      (try? JSONDecoder().decode(ProjectionFailure.self, from: Data(json.utf8)))
      ?? ProjectionFailure(
        position: nil, stream: nil, version: nil, type: nil, problem: "it stopped for a reason that is not known here",
        at: .distantPast)
  }
}
