public import EventStore
internal import FoundationEssentials
public import PostgreSQL
internal import Replay
internal import Synchronization

/// The log, for whoever appends to a store with inline projections: what an append returns is in them already.
///
/// An append then is a transaction of its own that also applies the projections, and takes the time of that; appends do not
/// travel together. A store without inline projections costs nothing: its appends go the usual way.
///
/// Where a projection is engaged, the server refuses appends that do not come this way. Give it to an `AggregateStore` as
/// any log.
public struct InlineLog: TransactionalEventLog {
  private let log: PostgreSQLEventLog
  private let catalog: ProjectionCatalog
  private let code: [Definition]
  private let settings: InlineSettings
  private let known = Known()

  /// - Parameters:
  ///   - projections: The inline projections in code. An append fails where the store has one that is not here.
  ///   - codec: Its upcasters raise older payloads.
  public init(
    _ log: PostgreSQLEventLog, _ projections: [any Projection] = [], codec: EventCodec = EventCodec()
  ) {
    self.log = log
    catalog = ProjectionCatalog(log, codec: codec)
    code = projections.map { .swift($0) }
    settings = InlineSettings(patience: log.configuration.appendPatience)
  }

  /// What this process knows of the store.
  private final class Known: Sendable {
    struct State {
      /// An append of the usual way was refused.
      var isInline = false
      var definitions: [Int: Definition] = [:]
      var statements: [Int: ModelStatements] = [:]
    }
    let state = Mutex(State())
  }

  // MARK: Reading

  public func read(_ stream: StreamName, _ range: StreamRange) -> EventSequence { log.read(stream, range) }

  public func readAll(after position: Position, where filter: LogFilter) -> EventSequence {
    log.readAll(after: position, where: filter)
  }

  public func subscribe(after position: Position, where filter: LogFilter) -> EventSequence {
    log.subscribe(after: position, where: filter)
  }

  public func version(of stream: StreamName) async throws(ReadError) -> Int? { try await log.version(of: stream) }

  public var snapshots: (any SnapshotStore)? { log.snapshots }

  // MARK: Appending

  public var store: PostgreSQLEventLog { log }

  /// Appends inside the caller's own transaction, as ``EventStore/PostgreSQLEventLog/append(_:in:)``, and applies the inline
  /// projections in it. The transaction must be READ COMMITTED, as it is unless it was begun otherwise: in another one the
  /// append throws `invalid`.
  ///
  /// - Throws: ``EventStore/AppendError``, or an error of the database.
  public func append(_ appends: [StreamAppend], in transaction: borrowing Transaction) async throws -> [Appended] {
    let connection = transaction.connection
    let own = try await settings.own(on: connection)
    // Where it fails, nothing of it stays, whatever the caller makes of that: no event without its projections.
    try await connection.execute(Self.savepoint)
    let results: [Appended]
    do {
      results = try await appendOnce(appends, in: transaction)
    } catch {
      // Also when the task has been cancelled.
      if connection.failure == nil { _ = try await connection.send(Self.undo).outcome().get() }
      throw error
    }
    try await connection.execute(Self.release)
    // Nor does what comes after it in the transaction count as applied.
    try await settings.putBack(own, on: connection)
    return results
  }

  private static let savepoint = Statement("SAVEPOINT eventstore_inline")
  private static let undo = Statement("ROLLBACK TO SAVEPOINT eventstore_inline")
  private static let release = Statement("RELEASE SAVEPOINT eventstore_inline")

  public func append(_ appends: [StreamAppend]) async throws(AppendError) -> [Appended] {
    if !known.state.withLock({ $0.isInline }) {
      do throws(AppendError) {
        return try await log.append(appends)
      } catch {
        guard case .database(let cause) = error, cause.sqlState == "ESP03" else { throw error }
        known.state.withLock { $0.isInline = true }
      }
    }
    return try await appendInline(appends)
  }

  /// Tries again, with the same ids, while the server is away: what was committed after all is recognised by them.
  private func appendInline(_ appends: [StreamAppend]) async throws(AppendError) -> [Appended] {
    let deadline = ContinuousClock.now + log.configuration.appendPatience
    var pause = Duration.milliseconds(20)
    /// A try whose COMMIT, perhaps, was sent: until the log says what became of it, later failures say nothing of it.
    var lost: PostgreSQLError?
    func orUnknown(_ error: AppendError) -> AppendError { lost.map { .outcomeUnknown($0) } ?? error }
    while true {
      do {
        return try await log.withTransaction { transaction in try await appendOnce(appends, in: transaction) }
      } catch let error as AppendError {
        switch error {
        case .unavailable, .outcomeUnknown: break
        case .database, .cancelled: throw orUnknown(error)
        default: throw error
        }
        guard ContinuousClock.now + pause < deadline, !Task.isCancelled else { throw orUnknown(error) }
      } catch let error as PostgreSQLError {
        if error.code == .cancelled { throw .outcomeUnknown(error) }
        if error.isOutcomeUnknown { lost = lost ?? error }
        let isTransient = error.isUnavailable || ["40001", "40P01", "55P03"].contains(error.sqlState)
        guard isTransient else { throw orUnknown(error.code == .closed ? .unavailable(error) : .database(error)) }
        guard ContinuousClock.now + pause < deadline, !Task.isCancelled else { throw orUnknown(.unavailable(error)) }
      } catch is CancellationError {
        throw orUnknown(.cancelled)
      } catch {
        throw .invalid("\(error)")
      }
      try? await Task.sleep(for: pause * Double.random(in: 0.5...1))
      pause = min(pause * 2, .milliseconds(500))
    }
  }

  private func appendOnce(
    _ appends: [StreamAppend], in transaction: borrowing Transaction
  ) async throws -> [Appended] {
    let connection = transaction.connection
    let appends = TraceContext.carried(appends, by: log.configuration.tracer)
    // First: which ones there are does not change any more until the end of the transaction.
    let engaged = try await engagedProjections(on: connection)
    let results = try await log.append(appends, in: transaction)
    let fresh = zip(appends, results).filter { !$0.1.wasDuplicate }
    if engaged.isEmpty { known.state.withLock { $0.isInline = false } }
    guard !engaged.isEmpty, !fresh.isEmpty else { return results }
    let events = try await recorded(fresh, on: connection)
    for row in engaged.indices {
      let build = Int(engaged.int32(row, 0))
      let definition = try definition(of: build, engaged, row)
      let own = events.filter { definition.filter.admits($0) }
      if !own.isEmpty { try await apply(own, build, definition, in: transaction) }
    }
    return results
  }

  private func engagedProjections(on connection: Connection) async throws -> Rows {
    do throws(PostgreSQLError) {
      return try await connection.execute(catalog.queries.engaged)
    } catch {
      guard error.sqlState == "ESP04" else { throw error }
      throw AppendError.invalid("\(error.message): its snapshot may be older than what is engaged now")
    }
  }

  private func definition(of build: Int, _ rows: Rows, _ row: Int) throws -> Definition {
    if let definition = known.state.withLock({ $0.definitions[build] }) { return definition }
    let (name, version, kind) = (rows.text(row, 1), Int(rows.int32(row, 2)), rows.text(row, 3))
    let definition: Definition
    if kind == ProjectionBuild.Kind.sql.rawValue {
      definition = .sql(try ReadModel(rows.text(row, 5), file: rows.text(row, 4)))
    } else if let own = code.first(where: { $0.name == name && $0.version == version }) {
      definition = own
    } else {
      throw AppendError.projection(
        name: name, problem: "version \(version) is in a service's code, which this program does not have")
    }
    known.state.withLock { $0.definitions[build] = definition }
    return definition
  }

  /// The events as readers will see them.
  private func recorded(
    _ appends: [(StreamAppend, Appended)], on connection: Connection
  ) async throws -> [RecordedEvent] {
    let positions = appends.flatMap(\.1.positions).map(\.rawValue)
    let rows = try await connection.execute(catalog.queries.recordedTimes, Parameters(BinaryArray(positions)))
    let times = Dictionary(rows.indices.map { (rows.int64($0, 0), rows.date($0, 1)) }, uniquingKeysWith: { $1 })
    var events: [RecordedEvent] = []
    for (append, result) in appends {
      for (index, event) in append.events.enumerated() {
        let position = result.positions[index]
        events.append(
          RecordedEvent(
            id: event.id, stream: append.stream, version: result.firstVersion + index, position: position,
            type: event.type, schemaVersion: event.schemaVersion, recordedAt: times[position.rawValue] ?? .now,
            occurredAt: event.occurredAt?.asRecorded, metadata: event.metadata, payload: .success(event.payload)))
      }
    }
    return events.sorted { $0.position < $1.position }
  }

  private func apply(
    _ events: [RecordedEvent], _ build: Int, _ definition: Definition, in transaction: borrowing Transaction
  ) async throws {
    let connection = transaction.connection
    let schema = "\(catalog.store.name)_\(definition.name)_\(build)"
    do {
      try await settings.set(schema: schema, on: connection)
      switch definition {
      case .sql(let model):
        let statements = try await statements(of: build, model, schema, on: connection)
        try await statements.finish(
          statements.send(
            try statements.encode(events), on: connection, timeout: connection.configuration.statementTimeout),
          isCancellable: false)
      case .swift(let projection):
        try await projection.apply(
          ProjectionBatch(events: events, build: build, codec: catalog.codec, isLive: true, sideEffects: true),
          in: transaction)
      case .external, .elsewhere: break
      }
    } catch {
      if let error = error as? PostgreSQLError, error.code == .timeout {
        throw AppendError.projection(
          name: definition.name,
          problem: "a statement took longer than the \(log.configuration.appendPatience) that an append may wait")
      }
      let fault = Fault(error)
      guard fault.isOfEvent else { throw error }
      throw AppendError.projection(name: definition.name, problem: fault.verdict.problem)
    }
  }

  private func statements(
    of build: Int, _ model: ReadModel, _ schema: String, on connection: Connection
  ) async throws -> ModelStatements {
    if let statements = known.state.withLock({ $0.statements[build] }) { return statements }
    let made = try await ModelStatements(
      model, tableSchema: schema, on: connection, store: catalog.store, catalog.codec)
    return known.state.withLock { state in
      if let first = state.statements[build] { return first }
      state.statements[build] = made
      return made
    }
  }
}
