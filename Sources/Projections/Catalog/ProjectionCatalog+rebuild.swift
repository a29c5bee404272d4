public import EventStore
internal import PostgreSQL
public import Replay

extension ProjectionCatalog {
  /// Writes a file's projection down, for runners to run: it goes live once it has caught up. One that is there is left as
  /// it is.
  ///
  /// - Throws: `ReadModelError`; ``ProjectionError``: `exists` and `versionGoesBack` where it is there in another version,
  ///   `changed`, `nameTaken`.
  @discardableResult
  public func register(_ model: ReadModel) async throws -> ProjectionBuild {
    let builds = try await builds(of: model.name)
    for build in builds where build.version == model.version {
      guard build.kind == .sql, try await source(of: build) == model.source else {
        throw ProjectionError.changed(name: model.name, version: model.version)
      }
      return build
    }
    if let live = builds.first(where: { $0.role == .live }) {
      throw live.version > model.version
        ? ProjectionError.versionGoesBack(name: model.name, live: live.version, given: model.version)
        : ProjectionError.exists(name: model.name, .live, version: live.version)
    }
    try await check(model)
    do {
      return try await create(.sql(model), goesLive: true)
    } catch ProjectionError.exists {
      // Another process was first, with the same file or with another.
      return try await register(model)
    }
  }

  /// Everything that can be wrong with a file, before anything of it is written down.
  private func check(_ model: ReadModel) async throws {
    let tables = try await model.check(in: log)
    let clash = try await log.pool.execute(
      queries.nameClash, Parameters(viewSchema, model.name, BinaryArray(tables)))
    guard clash.isEmpty else {
      throw ProjectionError.nameTaken(view: "\(viewSchema).\(clash.text(0, 0))", by: clash.text(0, 1))
    }
  }

  /// What a rebuild has come to.
  public struct RebuildProgress: Sendable, Hashable {
    /// Everything up to here is applied.
    public let position: Position
    /// The last event of the log, when that was last looked at.
    public let end: Position
    /// Events a second; 0: it is not known.
    public let rate: Int
    /// Who builds it; `nil`: nobody does at this moment.
    public let process: String?
    /// It is in code that this program does not have, and no service that has it runs.
    public let waitsForCode: Bool
    /// How this process is called there.
    public var here: String { Presence.process }
  }

  /// Builds a projection anew, beside the live one, from the first event on, and returns once it has caught up. A rebuild
  /// that was interrupted goes on where it was.
  ///
  /// - Parameters:
  ///   - model: A file of a newer version; `nil`: as the live one is.
  ///   - projections: What is in code. A projection in code that is not given is built by the service that has it.
  ///   - goesLive: Switch as soon as it has caught up.
  ///   - sideEffects: Have code notify and call others also while history is replayed.
  ///   - progress: Told from time to time.
  /// - Returns: The build: live where that was asked for, else new.
  /// - Throws: `ReadModelError`, ``ProjectionError``, `CancellationError`.
  public func rebuild(
    _ name: String, with model: ReadModel? = nil, code projections: [any Projection] = [],
    external: [any ExternalProjection] = [], goesLive: Bool = false, sideEffects: Bool = false,
    options: ProjectionRunner.Options = .init(), progress: @escaping @Sendable (RebuildProgress) -> Void = { _ in }
  ) async throws -> ProjectionBuild {
    let code = projections.map { Definition.swift($0) } + external.map { Definition.external($0) }
    let build = try await newBuild(of: name, model, code, goesLive: goesLive, sideEffects: sideEffects)
    let connection = try await Connection.connect(log.configuration.connection)
    defer { connection.close() }
    // One rebuild command a build: a second one would only seem to do something.
    let deadline = ContinuousClock.now + .seconds(2)
    while try await !connection.execute(queries.rebuildLock, Parameters(Int32(build.number))).bool(0, 0) {
      // One that was just interrupted has it until the server notices that its connection is gone.
      guard ContinuousClock.now < deadline else {
        throw ProjectionError.underWay(name: name, process: build.process ?? "another process")
      }
      try await Task.sleep(for: .milliseconds(50))
    }
    let built = try await runToEnd(build, try await definition(of: build, in: code), options, goesLive, progress)
    if goesLive, built.role == .new {
      try await switchOver(name, within: .seconds(30), codeOf: code)
      return try await self.build(of: name, as: .live)
    }
    return built
  }

  private func newBuild(
    of name: String, _ model: ReadModel?, _ code: [Definition], goesLive: Bool, sideEffects: Bool
  ) async throws -> ProjectionBuild {
    let roles = try await roles(of: name)
    if let model, model.name != name {
      throw ProjectionError.invalid("\(model.file) is the projection \(model.name), not \(name)")
    }
    if goesLive, let previous = roles[.previous] {
      throw ProjectionError.exists(name: name, .previous, version: previous.version)
    }
    let definition: Definition
    if let model {
      definition = .sql(model)
    } else if let new = roles[.new] {
      try await log.pool.execute(queries.setGoesLive, Parameters(Int32(new.number), goesLive || new.goesLive))
      return try await resumed(new)
    } else if let live = roles[.live] {
      definition =
        try await self.definition(of: live, in: code)
        ?? code.filter { $0.name == name }.max { $0.version < $1.version }
        ?? .elsewhere(live)
    } else {
      throw ProjectionError.noBuild(name: name, .live)
    }
    if let live = roles[.live] {
      guard definition.version >= live.version else {
        throw ProjectionError.versionGoesBack(name: name, live: live.version, given: definition.version)
      }
      if definition.version == live.version, let source = definition.source {
        guard try await self.source(of: live) == source else {
          throw ProjectionError.changed(name: name, version: live.version)
        }
      }
    }
    if let new = roles[.new] {
      guard new.version == definition.version else {
        throw ProjectionError.exists(name: name, .new, version: new.version)
      }
      guard try await self.source(of: new) == definition.source else {
        throw ProjectionError.changed(name: name, version: new.version)
      }
      try await log.pool.execute(queries.setGoesLive, Parameters(Int32(new.number), goesLive || new.goesLive))
      return try await resumed(new)
    }
    if let model { try await check(model) }
    return try await create(definition, goesLive: goesLive, sideEffects: sideEffects)
  }

  /// A build that stopped is tried again: asking for it is a person's word that the cause was mended.
  private func resumed(_ build: ProjectionBuild) async throws -> ProjectionBuild {
    if build.failure != nil { try await set(nil, of: build) }
    if build.pausedAt != nil { throw ProjectionError.paused(name: build.name) }
    return build
  }

  private func runToEnd(
    _ build: ProjectionBuild, _ definition: Definition?, _ options: ProjectionRunner.Options, _ goesLive: Bool,
    _ progress: @escaping @Sendable (RebuildProgress) -> Void
  ) async throws -> ProjectionBuild {
    while true {
      guard let current = try await self.build(numbered: build.number) else {
        throw ProjectionError.noBuild(name: build.name, .new)
      }
      if let failure = current.failure {
        throw ProjectionError.stopped(name: current.name, version: current.version, failure)
      }
      let end = try await lag(of: current, countingTo: 0).end
      progress(
        RebuildProgress(
          position: current.position, end: end, rate: current.rate, process: current.process,
          waitsForCode: current.process == nil && definition == nil))
      if current.role != .new || (current.caughtUpAt != nil && !(goesLive && current.goesLive)) { return current }
      guard current.process == nil, let definition else {
        try await Task.sleep(for: .milliseconds(200))
        continue
      }
      let here = RunProgress(at: current.position)
      let run = LeasedRun(catalog: self, build: current, definition: definition, options: options)
      do {
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask { try await run.run(progress: here) }
          group.addTask {
            var lastLook = ContinuousClock.now
            var end = end
            while true {
              try await Task.sleep(for: .milliseconds(100))
              if lastLook.duration(to: .now) > .seconds(2) {
                lastLook = .now
                end = (try? await lag(of: current, countingTo: 0).end) ?? end
              }
              progress(
                RebuildProgress(
                  position: here.position, end: end, rate: here.rate(), process: Presence.process,
                  waitsForCode: false))
            }
          }
          _ = try await group.next()
          group.cancelAll()
        }
      } catch let failure as ProjectionFailure {
        throw ProjectionError.stopped(name: current.name, version: current.version, failure)
      }
    }
  }
}
