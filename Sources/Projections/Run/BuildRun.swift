internal import EventStore
internal import FoundationEssentials
internal import Glibc
internal import Logging
internal import PostgreSQL
internal import Replay
internal import Synchronization

/// Runs one build: applies history, then what is appended. A rebuild and the live run are this same loop.
///
/// Whoever runs it holds the build's lease; where he does not any more, the checkpoint stops him.
struct BuildRun: Sendable {
  let catalog: ProjectionCatalog
  let build: ProjectionBuild
  let definition: Definition
  let options: ProjectionRunner.Options
  let progress: RunProgress

  enum Goal: Sendable {
    /// Until cancelled.
    case forever
    /// The end of the log has been reached, with all indexes.
    case caughtUp
  }

  private var log: PostgreSQLEventLog { catalog.log }
  private var queries: ProjectionQueries { catalog.queries }

  /// - Throws: ``ProjectionFailure``, which is written down as well, when the projection must stop; `CancellationError`.
  func run(_ goal: Goal) async throws {
    var pause = Duration.milliseconds(100)
    let bound = BatchBound(most: max(options.batchEvents(definition), options.loadEvents))
    // By position: two parts of a load may each have one.
    var alone: [Position?: Int] = [:]
    while true {
      try Task.checkCancellation()
      let before = progress.applied
      do {
        let target = try await BuildTarget.open(build, definition, log, catalog.codec, queries)
        return try await follow(target, goal, bound)
      } catch {
        if Task.isCancelled { throw CancellationError() }
        switch Fault(error) {
        case .cancelled: throw CancellationError()
        case .overtaken, .transient, .tooLong:
          if let long = error as? TookTooLong {
            bound.tookTooLong(long.events)
            if long.events > 1 {
              // Less is worth trying at once.
              pause = .milliseconds(100)
            } else {
              alone[long.failure.position, default: 0] += 1
              if alone[long.failure.position] == Self.patience { return try await stop(Self.hopeless(long.failure)) }
            }
          }
          if progress.applied > before { pause = .milliseconds(100) }
          options.logger.warning(
            "A projection tries again", metadata: ["projection": "\(build.name)", "error": "\(error)"])
          try await Task.sleep(for: pause * Double.random(in: 0.75...1.25))
          pause = min(pause * 2, .seconds(5))
          // Abandoned or retired meanwhile: there is nothing to run any more.
          guard try await isThere() else { return }
        case .event(let problem), .surroundings(let problem), .permanent(let problem):
          return try await stop(
            error as? ProjectionFailure
              ?? ProjectionFailure(position: nil, stream: nil, version: nil, type: nil, problem: problem, at: .now))
        }
      }
    }
  }

  /// So often an event that takes too long by itself is tried.
  private static let patience = 5

  private static func hopeless(_ failure: ProjectionFailure) -> ProjectionFailure {
    var failure = failure
    failure.problem +=
      ", even alone, \(patience) times: make what applies it faster, or give its statements more time "
      + "(`statementTimeout`, or `timeout:` of the statement)"
    return failure
  }

  /// Writes down why it stopped, unless the build was removed meanwhile.
  private func stop(_ failure: ProjectionFailure) async throws {
    options.logger.error(
      "A projection has stopped", metadata: ["projection": "\(build.name)", "failure": "\(failure)"])
    guard try await isThere() else { return }
    // Where that cannot be written down now, whoever runs it next meets it again.
    try? await catalog.set(failure, of: build)
    throw failure
  }

  /// Whether the build was not removed meanwhile; a server that is away does not say so.
  private func isThere() async throws -> Bool {
    do {
      return try await catalog.build(numbered: build.number) != nil
    } catch {
      try Task.checkCancellation()
      return true
    }
  }

  /// Where the build is.
  private struct Checkpoint {
    var whole: Int64
    /// While it is loaded in parallel.
    var parts: [Int64: Int64]
  }

  private func checkpoint() async throws -> Checkpoint? {
    let rows = try await log.pool.execute(queries.checkpoints, Parameters(Int32(build.number)))
    var checkpoint: Checkpoint?
    for row in rows.indices {
      let (part, position) = (Int64(rows.int16(row, 0)), rows.int64(row, 1))
      if part == PartWriter.whole {
        checkpoint = Checkpoint(whole: position, parts: [:])
      } else {
        checkpoint?.parts[part] = position
      }
    }
    return checkpoint
  }

  private func follow(_ target: BuildTarget, _ goal: Goal, _ bound: BatchBound) async throws {
    var end = EndOfLog(state: try await catalog.build(numbered: build.number))
    // Engaged meanwhile, by a switch elsewhere: the appends apply it.
    guard end.state?.isEngaged != true, var checkpoint = try await checkpoint() else { return }
    if try await loadsInParallel(checkpoint) { checkpoint.whole = try await load(target, checkpoint, bound) }
    let writer = try await PartWriter(target, bound, known: [PartWriter.whole: checkpoint.whole])
    let reader = ChunkReader(
      log, after: Position(checkpoint.whole), definition.filter, mostEvents: options.batchEvents(definition))
    var step = try await reader.next()
    while true {
      try Task.checkCancellation()
      switch step {
      case .events(let events, isLast: false):
        async let next = reader.next()
        try await apply(events, writer, &checkpoint)
        step = try await next
      case .events(let events, isLast: true):
        try await apply(events, writer, &checkpoint)
        if try await reached(&end, target, goal, reader, writer, &checkpoint) { return }
        step = try await reader.next()
      case .caughtUp:
        if try await reached(&end, target, goal, reader, writer, &checkpoint) { return }
        step = try await reader.next()
      }
    }
  }

  private func apply(
    _ events: [RecordedEvent], _ writer: PartWriter, _ checkpoint: inout Checkpoint
  ) async throws {
    let reached = events.last?.position.rawValue ?? checkpoint.whole
    try await writer.apply(events, reached: reached)
    checkpoint.whole = reached
    progress.applied(events.count, at: Position(reached))
  }

  /// What is known when the end of the log is met.
  private struct EndOfLog {
    var state: ProjectionBuild?
    var lastSettled = ContinuousClock.now
    /// Each try to engage holds appends up for a moment.
    var nextEngagement = ContinuousClock.now
    var pause = Duration.milliseconds(250)
  }

  /// - Returns: Whether the run is over.
  private func reached(
    _ end: inout EndOfLog, _ target: BuildTarget, _ goal: Goal, _ reader: ChunkReader, _ writer: PartWriter,
    _ checkpoint: inout Checkpoint
  ) async throws -> Bool {
    if end.lastSettled.duration(to: .now) > .seconds(1) || end.state?.caughtUpAt == nil {
      end.lastSettled = .now
      // Past events that are none of its own, so that its lag is seen to be none.
      let settled = try await reader.settled().rawValue
      if settled > checkpoint.whole {
        try await writer.apply([], reached: settled)
        checkpoint.whole = settled
        progress.applied(0, at: Position(settled))
      }
    }
    if let state = end.state, state.isUnfinished {
      try await caughtUp(state, target)
      end.state = try await catalog.build(numbered: build.number)
      if end.state?.isUnfinished == true { return false }
    }
    guard let state = end.state else { return true }
    if state.isInline, state.role == .live {
      // After a pause it goes back to where it belongs.
      if state.isEngaged { return true }
      guard ContinuousClock.now >= end.nextEngagement else { return false }
      if try await engaged(state, reader, writer, &checkpoint) { return true }
      end.nextEngagement = .now + end.pause
      end.pause = min(end.pause * 2, .seconds(10))
      return false
    }
    if case .caughtUp = goal { return true }
    return false
  }

  /// The build has met the end of the log: for the first time, or again after its indexes were made.
  private func caughtUp(_ state: ProjectionBuild, _ target: BuildTarget) async throws {
    if !state.isIndexed { return try await target.makeIndexes() }
    if state.caughtUpAt == nil {
      try await log.pool.execute(queries.setCaughtUp, Parameters(Int32(build.number)))
    }
    guard state.role == .new, state.goesLive else { return }
    do {
      try await catalog.switchOver(build.name, within: .seconds(1), codeOf: [definition])
    } catch ProjectionError.busy {
      // It goes on following, and tries again.
    } catch let error as ProjectionError {
      // It stays beside the live one, complete and kept up to date: a person decides.
      options.logger.error(
        "A projection did not go live", metadata: ["projection": "\(build.name)", "error": "\(error)"])
      try await log.pool.execute(queries.setGoesLive, Parameters(Int32(build.number), false))
    }
  }

  private func engaged(
    _ build: ProjectionBuild, _ reader: ChunkReader, _ writer: PartWriter, _ checkpoint: inout Checkpoint
  ) async throws -> Bool {
    try await catalog.engage(build, definition) {
      // What has come meanwhile: the less of it is left, the shorter appends are held up, which go on until then.
      for _ in 0..<20 {
        guard case .events(let events, let isLast) = try await reader.next() else { return }
        try await apply(events, writer, &checkpoint)
        if isLast, events.count < 100 { return }
      }
    }
  }

  // MARK: Loading in parallel

  private func loadsInParallel(_ checkpoint: Checkpoint) async throws -> Bool {
    // One that was begun is ended, whatever the definition says by now.
    if !checkpoint.parts.isEmpty { return true }
    guard definition.streamsAreIndependent, definition.hasTables else { return false }
    guard options.connections > 1 else { return false }
    let lag = try await catalog.lag(of: build, countingTo: 0)
    return lag.end.rawValue - checkpoint.whole > options.parallelFrom
  }

  /// Applies history on several connections, each its own parts of the streams, up to the end of the log.
  ///
  /// - Returns: Where the whole build is.
  private func load(_ target: BuildTarget, _ checkpoint: Checkpoint, _ bound: BatchBound) async throws -> Int64 {
    var parts = checkpoint.parts
    if parts.isEmpty {
      let made = try await log.pool.execute(
        queries.beginLoad, Parameters(Int32(build.number), checkpoint.whole))
      guard made.affected == Int(PartWriter.parts) else { throw overtaken }
      for part in 0..<PartWriter.parts { parts[part] = checkpoint.whole }
    }
    let count = Int64(min(max(1, options.connections), Int(PartWriter.parts)))
    var writers: [PartWriter] = []
    for index in 0..<count {
      writers.append(try await PartWriter(target, bound, known: parts.filter { $0.key % count == index }))
    }
    var last = parts.values.min() ?? checkpoint.whole
    let reader = ChunkReader(log, after: Position(last), definition.filter, mostEvents: options.loadEvents)
    var step = try await reader.next()
    while case .events(let events, let isLast) = step {
      try Task.checkCancellation()
      // At the end the reader rests: what has settled must not be later than what is applied.
      async let next = isLast ? .caughtUp : reader.next()
      let reached = events.last?.position.rawValue ?? last
      var shares = [[RecordedEvent]](repeating: [], count: writers.count)
      for event in events { shares[Int(PartWriter.part(of: event.stream) % count)].append(event) }
      try await withThrowingTaskGroup { group in
        for (writer, share) in zip(writers, shares) {
          group.addTask { try await writer.apply(share, reached: reached) }
        }
        // All of them finish: each keeps what it has done.
        var failure: (any Error)?
        while let result = await group.nextResult() {
          if case .failure(let error) = result, failure == nil { failure = error }
        }
        if let failure { throw failure }
      }
      last = reached
      progress.applied(events.count, at: Position(reached))
      step = try await next
    }
    let settled = try await reader.settled().rawValue
    try await log.pool.execute(
      queries.endLoad, Parameters(Int32(build.number), checkpoint.whole, last, settled))
    return max(settled, last)
  }

  private var overtaken: PostgreSQLError {
    PostgreSQLError(.server, "the checkpoint of build \(build.number) is not where it was", sqlState: "ESP01")
  }
}

extension ProjectionBuild {
  /// At the end of the log there is something left to do.
  fileprivate var isUnfinished: Bool { caughtUpAt == nil || (role == .new && goesLive) }
}

/// How far a run has come, for whoever shows it.
final class RunProgress: Sendable {
  private struct State {
    var applied = 0
    var position = Position.start
    var marks: [(time: ContinuousClock.Instant, applied: Int)] = []
  }
  private let state: Mutex<State>

  init(at position: Position = .start) { state = Mutex(State(position: position)) }

  var applied: Int { state.withLock { $0.applied } }
  var position: Position { state.withLock { $0.position } }

  func applied(_ events: Int, at position: Position) {
    state.withLock { state in
      state.applied += events
      state.position = position
    }
  }

  /// Events a second since the last few times that somebody asked.
  func rate() -> Int {
    state.withLock { state in
      let now = ContinuousClock.now
      state.marks.append((now, state.applied))
      if state.marks.count > 6 { state.marks.removeFirst() }
      guard let first = state.marks.first, first.time < now else { return 0 }
      return Int(Double(state.applied - first.applied) / (first.time.duration(to: now) / .seconds(1)))
    }
  }
}
