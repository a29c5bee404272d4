internal import EventStore
internal import FoundationEssentials
internal import PostgreSQL
internal import Replay

/// Applies events to parts of a build (or to the whole, part -1), on a connection of its own, and moves their checkpoints in
/// the same transactions.
///
/// The checkpoint is the fence: it is moved from where this writer knows it to be, so that what a runner does late, when
/// another has taken over, fails whole.
actor PartWriter {
  private let target: BuildTarget
  private let bound: BatchBound
  private let connection: Connection?
  /// By part.
  private var known: [Int64: Int64]
  /// What the first batch's statements have touched was looked at.
  private var isChecked = false

  static let whole: Int64 = -1
  static let parts: Int64 = 16

  /// Which part a stream belongs to: the same in every process, for a load may be resumed by another.
  static func part(of stream: StreamName) -> Int64 {
    // FNV-1a (Fowler, Noll, Vo).
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in stream.description.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return Int64((hash ^ hash >> 32) & 15)
  }

  init(_ target: BuildTarget, _ bound: BatchBound, known: [Int64: Int64]) async throws {
    self.target = target
    self.bound = bound
    self.known = known
    connection = target.definition.hasTables ? try await target.connect() : nil
  }

  deinit { connection?.close() }

  /// Applies events that lie after the checkpoint, in their order, and moves it to `reached`.
  ///
  /// Where a batch fails because of an event, it is divided until that event is found; all before it are applied.
  ///
  /// - Throws: ``ProjectionFailure``, where the projection must stop; ``TookTooLong``, after which fewer are applied at a
  ///   time; what else goes wrong.
  func apply(_ events: [RecordedEvent], reached: Int64) async throws {
    var events = events
    // Of a load that is resumed, some parts are ahead of where reading had to begin.
    if let first = events.first, let most = known.values.max(), first.position.rawValue <= most {
      events.removeAll { $0.position.rawValue <= known[PartWriter.whole] ?? known[Self.part(of: $0.stream)] ?? .max }
    }
    var rest = events[...]
    repeat {
      let slice = Array(rest.prefix(bound.value))
      rest = rest.dropFirst(slice.count)
      let end = rest.isEmpty ? reached : slice.last?.position.rawValue ?? reached
      do {
        try await applyDividing(slice, reached: end)
      } catch {
        guard case .tooLong(let problem) = Fault(error), let first = slice.first else { throw error }
        throw TookTooLong(events: slice.count, failure: failure(at: first, problem))
      }
      bound.succeeded()
    } while !rest.isEmpty
  }

  private func failure(at event: RecordedEvent, _ problem: String) -> ProjectionFailure {
    ProjectionFailure(
      position: event.position, stream: event.stream.description, version: event.version, type: event.type,
      problem: problem, at: .now)
  }

  private func applyDividing(_ events: [RecordedEvent], reached: Int64) async throws {
    do {
      try await commit(events, reached: reached)
    } catch {
      let fault = Fault(error)
      guard fault.isOfEvent, let last = events.last else { throw error }
      try Task.checkCancellation()
      if events.count > 1 {
        let half = Array(events.prefix(events.count / 2))
        try await applyDividing(half, reached: half.last?.position.rawValue ?? reached)
        try await applyDividing(Array(events.dropFirst(half.count)), reached: reached)
      } else {
        try await decide(on: last, fault, reached: reached)
      }
    }
  }

  /// What becomes of an event that cannot be applied.
  private func decide(on event: RecordedEvent, _ fault: Fault, reached: Int64) async throws {
    let policy = target.definition.errorPolicy
    var fault = fault
    for attempt in 0..<policy.retries {
      try await Task.sleep(for: min(.milliseconds(100 << min(attempt, 7)), .seconds(10)))
      do {
        return try await commit([event], reached: reached)
      } catch {
        fault = Fault(error)
        guard fault.isOfEvent else { throw error }
      }
    }
    let (problem, maySkip) = fault.verdict
    switch policy.end {
    case .stop,
      .skip where !maySkip:
      throw failure(at: event, problem)
    case .skip:
      try await withConnection { connection in
        try await connection.inTransaction { _ in
          try await connection.execute(
            target.queries.skip,
            Parameters(
              Int32(target.build.number), event.position.rawValue, event.stream.description, Int64(event.version),
              event.type, event.id, problem))
          try await connection.execute(target.queries.advance, advance(0, reached))
        }
      }
      moved(to: reached)
    }
  }

  // MARK: One transaction

  private func commit(_ events: [RecordedEvent], reached: Int64) async throws {
    switch target.definition {
    case .sql: try await commitStatements(events, reached)
    case .swift(let projection):
      try await withConnection { connection in
        try await connection.inTransaction { transaction in
          try await apply(projection, events, reached, in: transaction)
        }
      }
    case .external(let projection):
      if !events.isEmpty { try await projection.apply(target.batch(events)) }
      try await withConnection { connection in
        _ = try await connection.execute(target.queries.advance, advance(events.count, reached))
      }
    case .elsewhere:
      throw ProjectionError.codeMissing(name: target.build.name, kind: target.build.kind)
    }
    moved(to: reached)
  }

  /// The server ends a transaction in which code takes too long between two statements, the last of which is ours, and with
  /// it the connection: all that is seen of that is that it is lost.
  private func apply(
    _ projection: any Projection, _ events: [RecordedEvent], _ reached: Int64, in transaction: borrowing Transaction
  ) async throws {
    let start = ContinuousClock.now
    do {
      if !events.isEmpty { try await projection.apply(target.batch(events), in: transaction) }
      try await transaction.execute(target.queries.advance, advance(events.count, reached))
    } catch let error as PostgreSQLError {
      guard error.code == .connectionLost, start.duration(to: .now) >= BuildTarget.longestIdle else { throw error }
      throw PostgreSQLError(
        .server, "its code took longer than \(BuildTarget.longestIdle) between two statements", sqlState: "25P03")
    }
  }

  /// All of it is sent before the first answer is awaited: one round trip.
  ///
  /// No statement of it is cancelled by itself, or those behind it would commit without it: a task that is cancelled ends
  /// the connection. What the server has got of the transaction until then is a beginning of it, or all.
  private func commitStatements(_ events: [RecordedEvent], _ reached: Int64) async throws {
    guard let statements = target.statements, let connection else { return }
    let encoded = try statements.encode(events)
    try await withTaskCancellationHandler {
      let begin = connection.send(IsolationLevel.readCommitted.begin, timeout: ModelStatements.patience)
      var sent = statements.send(encoded, on: connection)
      if !isChecked, !events.isEmpty {
        // Before it is known what they touch, nothing is committed.
        do {
          try await statements.finish(sent, isCancellable: false)
          try await statements.checkTables(on: connection)
        } catch {
          await connection.rollback()
          throw error
        }
        isChecked = true
        sent = []
      }
      let advanced = connection.send(
        target.queries.advance, advance(events.count, reached), timeout: ModelStatements.patience)
      let committed = connection.send(Connection.commit, timeout: ModelStatements.patience)
      _ = try await begin.outcome().get()
      try await statements.finish(sent, isCancellable: false)
      _ = try await advanced.outcome().get()
      // Where one of them has failed, this was a rollback.
      guard try await committed.outcome().get().tag == "COMMIT" else {
        throw PostgreSQLError(.server, "the transaction was rolled back", sqlState: "25P02")
      }
    } onCancel: {
      connection.close()
    }
  }

  private func advance(_ count: Int, _ reached: Int64) -> Parameters {
    let moving = known.filter { $0.value < reached }.sorted { $0.key < $1.key }
    return Parameters(
      Int32(target.build.number), BinaryArray(moving.map(\.key)), BinaryArray(moving.map(\.value)), reached,
      Int64(count))
  }

  private func moved(to reached: Int64) {
    for (part, position) in known where position < reached { known[part] = reached }
  }

  private func withConnection<R>(_ body: (Connection) async throws -> R) async throws -> R {
    if let connection { return try await body(connection) }
    return try await target.log.pool.withConnection(body)
  }
}
