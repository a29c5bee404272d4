public import EventStore
internal import Glibc
public import Logging
internal import PostgreSQL
internal import Replay
public import ServiceLifecycle
internal import Synchronization

/// Runs projections: those in code that it is given, and all of the store that are files.
///
/// Each build has one runner in the whole system, by a lease; when that dies another takes over, at once where it has
/// died, after ``Options/lease`` where it hangs. Nothing is applied twice, even if it wakes up. A projection that stops
/// stops no other.
///
/// ```swift
/// let runner = ProjectionRunner(log, [Totals()])
/// try await ServiceGroup(services: [log, runner], …).run()
/// ```
public struct ProjectionRunner: Service {
  /// What is run, and how much of it at a time.
  public struct Options: Sendable {
    /// Events a transaction, at most, while it follows: of a file …
    public var batchEvents = 5_000
    /// … and of code.
    public var batchEventsInCode = 1_000
    /// Events that are read and divided at a time while history is loaded on several connections.
    public var loadEvents = 20_000
    /// Connections that load history, where streams are independent. Default: one a core, at most 8.
    public var connections = min(8, max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    /// From so many positions behind, history is loaded on several connections.
    public var parallelFrom: Int64 = 50_000
    /// How long a runner that hangs keeps its projections. Renewed five times in that time.
    public var lease = Duration.seconds(5)
    /// Whether files of the store are run.
    public var runsFiles = true
    /// Only these projections; empty: all.
    public var only: Set<String> = []
    /// A newer version of a projection in code is built beside the live one by itself. Whether it also goes live by
    /// itself, once it has caught up; else a person switches.
    public var newVersionsGoLive = false
    /// Told of projections that stop, and of what is tried again. Default: nobody.
    public var logger = Logger(label: "projections") { _ in SwiftLogNoOpLogHandler() }

    public init() {}

    func batchEvents(_ definition: Definition) -> Int {
      if case .sql = definition { batchEvents } else { batchEventsInCode }
    }
  }

  let catalog: ProjectionCatalog
  let code: [Definition]
  /// Those that it has when ``run()`` is called.
  public var options: Options

  /// - Parameter codec: Its upcasters raise older payloads.
  public init(
    _ log: PostgreSQLEventLog, _ projections: [any Projection] = [], external: [any ExternalProjection] = [],
    codec: EventCodec = EventCodec(), options: Options = Options()
  ) {
    catalog = ProjectionCatalog(log, codec: codec)
    code = projections.map { .swift($0) } + external.map { .external($0) }
    self.options = options
  }

  /// Runs until the service shuts down or the task is cancelled; then gives back what it holds.
  ///
  /// - Throws: ``ProjectionError``: the code does not fit the store. The database is waited for, a projection that stops
  ///   is written down.
  public func run() async throws {
    let holder = Leaseholder(catalog.log, catalog.queries, duration: options.lease)
    let runs = Runs()
    do {
      try await cancelWhenGracefulShutdown {
        try await patiently { for definition in code { try await ensure(definition) } }
        while true {
          try Task.checkCancellation()
          do {
            try await look(holder, runs)
          } catch {
            guard Fault(error).isWaitedFor else { throw error }
            options.logger.warning("The projections' state cannot be read", metadata: ["error": "\(error)"])
          }
          try await Task.sleep(for: min(.milliseconds(500), options.lease / 5))
        }
      }
    } catch {
      await runs.stopAll()
      await holder.release()
      guard error is CancellationError || Task.isCancelled else { throw error }
    }
  }

  private func patiently(_ body: () async throws -> Void) async throws {
    while true {
      do {
        return try await body()
      } catch {
        guard Fault(error).isWaitedFor else { throw error }
        try await Task.sleep(for: .milliseconds(500))
      }
    }
  }

  // MARK: Code

  /// Sees to it that there is a build of what is in code.
  private func ensure(_ definition: Definition) async throws {
    try definition.check()
    let builds = try await catalog.builds(of: definition.name)
    if builds.contains(where: { $0.version == definition.version && $0.kind == definition.kind }) { return }
    let live = builds.first { $0.role == .live }
    if let live, live.version > definition.version {
      // An older program, while a newer one is deployed, or the other way round: it has nothing to run.
      options.logger.notice(
        "A projection is live in a newer version",
        metadata: ["projection": "\(definition.name)", "live": "\(live.version)", "here": "\(definition.version)"])
      return
    }
    do {
      _ = try await catalog.create(definition, goesLive: live == nil || options.newVersionsGoLive)
    } catch ProjectionError.exists {
      // Another process was first; or a build of another version must be decided on before.
    }
  }

  // MARK: Looking

  /// Starts what can be run here and is run nowhere, stops what is not ours any more.
  private func look(_ holder: Leaseholder, _ runs: Runs) async throws {
    let kept = try await holder.renew(runs.leases)
    runs.stop { number, _ in !kept.contains(number) }
    let builds = try await catalog.builds()
    let runnable = builds.filter { isOurs($0) && $0.pausedAt == nil && $0.failure == nil && !$0.isEngaged }
    let roles = Dictionary(runnable.map { ($0.number, $0.role) }, uniquingKeysWith: { $1 })
    // What is in code is told whether it is live: after a switch it begins anew.
    runs.stop { number, role in
      roles[number] == nil || (roles[number] != role && builds.contains { $0.number == number && $0.kind != .sql })
    }
    for build in runnable where build.process == nil && !runs.isRunning(build.number) {
      let definition: Definition
      do {
        guard let found = try await catalog.definition(of: build, in: code) else { continue }
        definition = found
      } catch let error as ReadModelError {
        // Of a newer program, perhaps: it is no reason to stop others, nor to write it down as its failure.
        options.logger.error(
          "A projection is not understood", metadata: ["projection": "\(build.name)", "error": "\(error)"])
        continue
      }
      guard let epoch = try await holder.take(build) else { continue }
      let progress = RunProgress()
      let run = BuildRun(catalog: catalog, build: build, definition: definition, options: options, progress: progress)
      runs.start(build, epoch, progress) {
        do {
          try await run.run(.forever)
        } catch is CancellationError {
          // By us.
        } catch {
          options.logger.error("A projection ended", metadata: ["projection": "\(build.name)", "error": "\(error)"])
        }
        await holder.release(build.number)
      }
    }
  }

  private func isOurs(_ build: ProjectionBuild) -> Bool {
    guard options.only.isEmpty || options.only.contains(build.name) else { return false }
    if build.kind == .sql { return options.runsFiles }
    return code.contains { $0.name == build.name && $0.version == build.version && $0.kind == build.kind }
  }
}

/// The builds that run here.
private final class Runs: Sendable {
  private struct Run {
    let task: Task<Void, Never>
    let role: ProjectionBuild.Role
    let epoch: Int64
    let progress: RunProgress
  }
  private let runs = Mutex<[Int: Run]>([:])

  var leases: [(build: Int, epoch: Int64, rate: Int)] {
    runs.withLock { $0.map { ($0.key, $0.value.epoch, $0.value.progress.rate()) } }
  }

  func isRunning(_ build: Int) -> Bool { runs.withLock { $0[build] != nil } }

  func start(
    _ build: ProjectionBuild, _ epoch: Int64, _ progress: RunProgress, _ body: @escaping @Sendable () async -> Void
  ) {
    runs.withLock { runs in
      let task = Task {
        await body()
        _ = self.runs.withLock { $0.removeValue(forKey: build.number) }
      }
      runs[build.number] = Run(task: task, role: build.role, epoch: epoch, progress: progress)
    }
  }

  /// They end by themselves, after what is under way.
  func stop(where isOver: (Int, ProjectionBuild.Role) -> Bool) {
    runs.withLock { runs in
      for (number, run) in runs where isOver(number, run.role) { run.task.cancel() }
    }
  }

  func stopAll() async {
    let tasks = runs.withLock { runs in runs.values.map(\.task) }
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
  }
}
