public import FoundationEssentials
public import PostgreSQL
internal import Synchronization

/// The log of events in PostgreSQL.
///
/// Share one in the whole process: concurrent appends travel together. It has no background task; ``close()`` ends it.
///
/// ## Topics
/// ### Opening
/// - ``open(_:)``
/// - ``withLog(_:_:)``
/// ### Appending
/// - ``append(_:)``
/// - ``append(_:in:)``
/// ### Reading
/// - ``read(_:_:)``
/// - ``readAll(after:where:)``
/// - ``subscribe(after:where:)``
public final class PostgreSQLEventLog: EventLog {
  public let configuration: EventLogConfiguration
  /// Which store this is: given when it was made.
  public let storeID: UUID
  package let pool: ConnectionPool
  let queries: Queries
  let directory: StreamDirectory
  let keys: DataKeys
  let hints: Hints
  let plaintextCategories: PlaintextCategories
  private let appender: Appender
  private let announcer: Announcer
  /// So that readers are told of them, once they are committed.
  private let appendsInTransactions = Atomic<Int>(0)
  private let listener = Mutex<Connection?>(nil)

  /// Opens a store that has been migrated, and checks that the master key in hand is its own.
  ///
  /// - Throws: ``OpenError``.
  public static func open(_ configuration: EventLogConfiguration) async throws(OpenError) -> PostgreSQLEventLog {
    let pool = ConnectionPool(configuration.connection)
    do throws(OpenError) {
      return try await open(configuration, pool)
    } catch {
      pool.close()
      throw error
    }
  }

  /// Opens a store for `body` and closes it afterwards.
  public static func withLog<R>(
    _ configuration: EventLogConfiguration, _ body: (PostgreSQLEventLog) async throws -> R
  ) async throws -> R {
    let log = try await open(configuration)
    do {
      let result = try await body(log)
      await log.close()
      return result
    } catch {
      await log.close()
      throw error
    }
  }

  private static func open(
    _ configuration: EventLogConfiguration, _ pool: ConnectionPool
  ) async throws(OpenError) -> PostgreSQLEventLog {
    do {
      switch try await Migrator.status(pool, schema: configuration.schema) {
      case .upToDate: break
      case let status: throw OpenError.notMigrated(configuration.schema, status)
      }
      let queries = Queries(configuration.schema)
      let storeID = try await pool.execute(queries.store).uuid(0, 0)
      if case .sealed(let keyring) = configuration.encryption, !configuration.isReadOnly {
        try await claim(storeID, keyring, queries, pool)
      }
      return PostgreSQLEventLog(configuration, pool, queries, storeID)
    } catch let error as OpenError {
      throw error
    } catch let error as PostgreSQLError {
      throw error.isUnavailable ? .unavailable(error) : .database(error)
    } catch {
      preconditionFailure("not an error of this module: \(type(of: error))")
    }
  }

  /// Refuses a master key that is not the store's; writes down the first one of a new store.
  private static func claim(
    _ storeID: UUID, _ keyring: Keyring, _ queries: Queries, _ pool: ConnectionPool
  ) async throws {
    let active = keyring.active
    for attempt in 1...2 {
      let rows = try await pool.execute(queries.store)
      let registered = rows.indices.filter { !rows.isNull($0, 1) }
      if let own = registered.first(where: { rows.text($0, 1) == active.id }),
        active.verifies(check: rows.byteArray(own, 2), storeID: storeID)
      {
        return
      }
      guard registered.isEmpty, attempt == 1 else {
        throw OpenError.encryption(
          .wrongMasterKey(expected: registered.map { rows.text($0, 1) }, found: active.id))
      }
      // Where another process registers its key at the same time, the second look finds that.
      try await pool.execute(
        queries.registerMasterKey, Parameters(active.id, Bytea(active.check(storeID: storeID))))
    }
  }

  private init(
    _ configuration: EventLogConfiguration, _ pool: ConnectionPool, _ queries: Queries, _ storeID: UUID
  ) {
    self.configuration = configuration
    self.storeID = storeID
    self.pool = pool
    self.queries = queries
    let directory = StreamDirectory(queries)
    let keyring: Keyring? =
      switch configuration.encryption {
      case .sealed(let keyring): keyring
      case .off: nil
      }
    let keys = DataKeys(keyring, queries)
    self.directory = directory
    self.keys = keys
    plaintextCategories = keyring == nil ? .all : .only(configuration.plaintextCategories)
    let hints = Hints()
    self.hints = hints
    let announcer = Announcer(queries, hints)
    self.announcer = announcer
    appender = Appender(
      pool: pool, queries: queries, limits: AppendQueue.Limits(lanes: configuration.appendLanes),
      patience: configuration.appendPatience, logger: configuration.logger,
      onLoss: {
        directory.forget()
        keys.forget()
      },
      onVerdict: { append, verdict in
        directory.learn(append, verdict)
        keys.confirm(append, verdict)
      },
      onCommit: { announcer.appended(on: $0) })
  }

  /// Waits for the appends under way, then closes every connection. Reading under way fails.
  public func close() async {
    await appender.drain()
    listener.withLock { $0 }?.close()
    pool.close()
  }

  // MARK: Appending

  public func append(_ appends: [StreamAppend]) async throws(AppendError) -> [Appended] {
    let sealed = try await patiently { () throws(AppendError) in
      try await seal(appends) { () throws(PostgreSQLError) in
        let lease = try await pool.lease()
        return (lease.connection, lease)
      }
    }
    let verdicts = try await appender.append(sealed).get()
    return try await patiently { () throws(AppendError) in try await results(appends, verdicts) }
  }

  /// Tries again while the server is away, for as long as an append may wait. What it runs only reads.
  private func patiently<R>(_ body: () async throws(AppendError) -> R) async throws(AppendError) -> R {
    var start: ContinuousClock.Instant?
    var pause = Duration.milliseconds(20)
    while true {
      do throws(AppendError) {
        return try await body()
      } catch {
        switch error {
        case .unavailable, .outcomeUnknown: break
        default: throw error
        }
        let began = start ?? .now
        start = began
        guard began.duration(to: .now) + pause < configuration.appendPatience, !Task.isCancelled else { throw error }
      }
      try? await Task.sleep(for: pause)
      pause = min(pause * 2, .milliseconds(500))
    }
  }

  /// Appends inside the caller's own transaction: it is committed, or not, with everything else in it.
  ///
  /// Append last, just before the transaction ends: readers of the log wait for a transaction that has appended and is
  /// still open. Two transactions that append to the same streams in different order can deadlock, as with any rows;
  /// one call with several ``StreamAppend``s cannot.
  ///
  /// - Throws: ``AppendError``. After a `conflict` nothing was written and the transaction can go on.
  public func append(
    _ appends: [StreamAppend], in transaction: borrowing Transaction
  ) async throws(AppendError) -> [Appended] {
    let connection = transaction.connection
    let sealed = try await seal(appends, inTransaction: true) { () throws(PostgreSQLError) in (connection, nil) }
    // What it says of new streams and keys is not learned: the transaction may be rolled back.
    let verdicts = try await database { () throws(PostgreSQLError) in
      try await AppendCall.run([AppendRequest(sealed)], on: connection, queries).get()
    }
    appendsInTransactions.wrappingAdd(1, ordering: .relaxed)
    return try await results(appends, verdicts, inTransaction: true)
  }

  /// Appends to one stream inside the caller's own transaction; see ``append(_:in:)``.
  @discardableResult
  public func append(
    _ events: [EventData], to stream: StreamName, expecting expected: ExpectedVersion,
    in transaction: borrowing Transaction
  ) async throws(AppendError) -> Appended {
    try await append([StreamAppend(events, to: stream, expecting: expected)], in: transaction)[0]
  }

  /// A transaction on a connection of the log's own pool.
  public func withTransaction<R>(
    isolation: IsolationLevel = .readCommitted, _ body: (borrowing Transaction) async throws -> R
  ) async throws -> R {
    let before = appendsInTransactions.load(ordering: .relaxed)
    let lease = try await pool.lease()
    let result = try await lease.connection.inTransaction(isolation: isolation, body)
    // It may have been another's: a hint too many costs little.
    if appendsInTransactions.load(ordering: .relaxed) != before { announcer.appended(on: lease.connection) }
    return result
  }

  /// Checks, finds ids and keys, seals.
  private func seal(
    _ appends: [StreamAppend], inTransaction: Bool = false,
    _ connect: () async throws(PostgreSQLError) -> (Connection, ConnectionPool.Lease?)
  ) async throws(AppendError) -> [SealedAppend] {
    guard !configuration.isReadOnly else { throw .invalid("the log was opened read-only") }
    try AppendChecks.check(appends, maximumPayloadBytes: configuration.maximumPayloadBytes)
    if let sealed = try sealed(appends, inTransaction, afterLookUp: false) { return sealed }
    try await lookUp(appends, inTransaction: inTransaction, connect)
    guard let sealed = try sealed(appends, inTransaction, afterLookUp: true) else { preconditionFailure("looked up") }
    return sealed
  }

  /// - Returns: `nil` where something must be looked up first.
  private func sealed(
    _ appends: [StreamAppend], _ inTransaction: Bool, afterLookUp: Bool
  ) throws(AppendError) -> [SealedAppend]? {
    var sealed: [SealedAppend] = []
    sealed.reserveCapacity(appends.count)
    for append in appends {
      let isNew = append.expected.code == 0
      let entry = directory.entry(of: append.stream)
      guard entry != nil || isNew || inTransaction || afterLookUp else { return nil }
      let isPlain = plaintextCategories.contains(stream: append.stream)
      var newKeys: [DataKeyRow] = []
      var events: [SealedEvent] = []
      events.reserveCapacity(append.events.count)
      var current: (subject: String, key: DataKeys.Current)?
      for event in append.events {
        let subject = event.subject ?? append.stream.description
        if !isPlain, current.map({ !$0.subject.isSameBytes(as: subject) }) ?? true {
          if let key = keys.current(for: subject) {
            current = (subject, key)
          } else {
            guard afterLookUp || (isNew && event.subject == nil) else { return nil }
            current = (subject, try makeKey(for: subject))
          }
          if let row = current?.key.row, !newKeys.contains(where: { $0.id == row.id }) { newKeys.append(row) }
        }
        events.append(seal(event, for: append.stream, key: current?.key.key))
      }
      sealed.append(
        SealedAppend(
          stream: append.stream, entry: entry, expected: append.expected,
          hasSeenExpected: entry?.hasSeen(append.expected) ?? false, events: events, newKeys: newKeys))
    }
    return sealed
  }

  /// The event as its row wants it.
  ///
  /// - Parameter key: `nil`: its payload stays in the clear.
  func seal(_ event: EventData, for stream: StreamName, key: DataKey?) -> SealedEvent {
    let occurredAt = event.occurredAt?.microsecondsSince2000
    let envelope =
      if let key {
        Envelope.seal(
          event.payload, key: key,
          context: EnvelopeContext(
            eventID: event.id, stream: stream.description, type: event.type, schemaVersion: event.schemaVersion,
            metadata: event.metadata.isEmpty ? nil : event.metadata.json,
            occurredAt: occurredAt.map { $0 + microsecondsFrom1970To2000 }))
      } else {
        Envelope.plaintext(event.payload)
      }
    return SealedEvent(
      id: event.id, type: event.type, schemaVersion: Int32(event.schemaVersion), occurredAt: occurredAt,
      metadata: event.metadata.json, envelope: envelope)
  }

  func makeKey(for subject: String) throws(AppendError) -> DataKeys.Current {
    do { return try keys.make(for: subject) } catch { throw .encryption(error) }
  }

  /// Looks up what this process has not met yet. A stream that is expected to be new needs no look: the append itself
  /// will say if it is not.
  ///
  /// Not streams in the caller's transaction, which may see its own new streams, and be rolled back: there the names
  /// travel.
  private func lookUp(
    _ appends: [StreamAppend], inTransaction: Bool,
    _ connect: () async throws(PostgreSQLError) -> (Connection, ConnectionPool.Lease?)
  ) async throws(AppendError) {
    var streams: [StreamName] = []
    var subjects: Set<String> = []
    for append in appends {
      let isNew = append.expected.code == 0
      if !isNew, !inTransaction, directory.entry(of: append.stream) == nil { streams.append(append.stream) }
      guard !plaintextCategories.contains(stream: append.stream) else { continue }
      for event in append.events {
        let subject = event.subject ?? append.stream.description
        if event.subject == nil, isNew { continue }
        if keys.current(for: subject) == nil { subjects.insert(subject) }
      }
    }
    guard !streams.isEmpty || !subjects.isEmpty else { return }
    try await database { () throws(PostgreSQLError) in
      let (connection, lease) = try await connect()
      defer { withExtendedLifetime(lease) {} }
      if !streams.isEmpty { try await directory.fetchIDs(of: streams, connection) }
      if !subjects.isEmpty { try await keys.fetch(subjects: Array(subjects), connection) }
    }
  }

  /// What the caller is told. A part that was there before is compared with what is asked now.
  private func results(
    _ appends: [StreamAppend], _ verdicts: [Verdict], inTransaction: Bool = false
  ) async throws(AppendError) -> [Appended] {
    for (append, verdict) in zip(appends, verdicts) {
      if case .conflict(let actual) = verdict {
        throw .conflict(VersionConflict(stream: append.stream, expected: append.expected, actual: actual))
      }
    }
    var results: [Appended] = []
    for (append, verdict) in zip(appends, verdicts) {
      switch verdict {
      case .appended(_, let firstVersion, let positions):
        results.append(
          Appended(stream: append.stream, firstVersion: firstVersion, positions: positions, wasDuplicate: false))
      case .duplicate(let firstVersion, let streamID):
        if !inTransaction { directory.learn(append.stream, id: streamID) }
        results.append(try await earlier(append, firstVersion))
      case .conflict: preconditionFailure("handled above")
      case .refusedWithGroup:
        // Another part of this atomic append was there before, but this one was not: not the same append.
        throw duplicate(appends, verdicts)
      }
    }
    return results
  }

  private func duplicate(_ appends: [StreamAppend], _ verdicts: [Verdict]) -> AppendError {
    for (append, verdict) in zip(appends, verdicts) {
      if case .duplicate = verdict {
        return .duplicateEventID(id: append.events[0].id.uuidString.lowercased(), stream: append.stream)
      }
    }
    preconditionFailure("a group is refused only for a conflict or an earlier try")
  }

  /// The result of the earlier try, if it wrote the same events.
  private func earlier(_ append: StreamAppend, _ firstVersion: Int) async throws(AppendError) -> Appended {
    let versions = firstVersion...(firstVersion + append.events.count - 1)
    let recorded: [RecordedEvent]
    do throws(ReadError) {
      recorded = try await read(append.stream, StreamRange(versions: versions)).collect()
    } catch {
      // The earlier try may have been this very append, sent again after its connection broke.
      switch error {
      case .unavailable(let error), .database(let error): throw .outcomeUnknown(error)
      case .encryption(let error): throw .encryption(error)
      case .cancelled:
        throw .outcomeUnknown(PostgreSQLError(.cancelled, "cancelled while an earlier try was compared"))
      }
    }
    for (index, event) in append.events.enumerated() {
      guard index < recorded.count, AppendChecks.isSame(event, recorded[index]) else {
        let there = append.events.first { event in recorded.contains { $0.id == event.id } }
        throw .duplicateEventID(id: (there ?? event).id.uuidString.lowercased(), stream: append.stream)
      }
    }
    return Appended(
      stream: append.stream, firstVersion: firstVersion, positions: recorded.map(\.position), wasDuplicate: true)
  }

  func database<R>(_ body: () async throws(PostgreSQLError) -> R) async throws(AppendError) -> R {
    do throws(PostgreSQLError) {
      return try await body()
    } catch {
      if error.code == .cancelled { throw .cancelled }
      throw error.isUnavailable || error.code == .closed ? .unavailable(error) : .database(error)
    }
  }

  // MARK: Reading

  public func read(_ stream: StreamName, _ range: StreamRange) -> EventSequence {
    EventSequence { StreamPages(self, stream, range) }
  }

  public func readAll(after position: Position, where filter: LogFilter) -> EventSequence {
    EventSequence { LogPages(self, after: position, filter) }
  }

  /// The events after `position` up to `end`, where it is known that no event up to there is still undecided: a checkpoint,
  /// or the end of a log that nobody can append to at this moment. Unlike ``readAll(after:where:)`` it does not end before.
  package func readDecided(after position: Position, upTo end: Position, where filter: LogFilter) -> EventSequence {
    EventSequence { LogPages(self, after: position, filter, upTo: end) }
  }

  /// The events at some positions, in order; those that are not there are left out.
  package func events(at positions: [Position]) async throws(ReadError) -> [RecordedEvent] {
    try await reading { () throws(PostgreSQLError) in
      let lease = try await pool.lease()
      let rows = try await lease.connection.execute(
        queries.eventsAt, Parameters(BinaryArray(positions.map(\.rawValue))))
      return try await makeDecoder().events(rows) { () throws(PostgreSQLError) in lease }
    }
  }

  public func subscribe(after position: Position, where filter: LogFilter) -> EventSequence {
    EventSequence { Subscription(self, after: position, filter) }
  }

  public func version(of stream: StreamName) async throws(ReadError) -> Int? {
    try await reading { () throws(PostgreSQLError) in
      let rows = try await pool.execute(queries.streamVersion, Parameters(stream.description))
      return rows.isEmpty ? nil : Int(rows.int64(0, 0))
    }
  }

  public var snapshots: (any SnapshotStore)? { PostgreSQLSnapshots(log: self) }

  func makeDecoder() -> EventDecoder { EventDecoder(directory, keys, plaintextCategories) }

  func reading<R>(_ body: () async throws(PostgreSQLError) -> R) async throws(ReadError) -> R {
    do throws(PostgreSQLError) {
      return try await body()
    } catch {
      if error.code == .cancelled { throw .cancelled }
      throw error.isUnavailable || error.code == .closed ? .unavailable(error) : .database(error)
    }
  }

  /// Sees to it that the server's hints arrive. Where that fails, readers go on by looking for themselves.
  func listen() async {
    guard configuration.listens else { return }
    let needsConnection = listener.withLock { $0.map { $0.failure != nil } ?? true }
    guard needsConnection, let connection = try? await Connection.connect(configuration.connection) else { return }
    connection.onNotification { [hints] _ in hints.hint() }
    guard (try? await connection.script("LISTEN \(queries.channel)")) != nil else {
      connection.close()
      return
    }
    let superseded = listener.withLock { current -> Connection? in
      if let current, current.failure == nil { return connection }
      current = connection
      return nil
    }
    superseded?.close()
  }
}

/// Why a store could not be opened.
public enum OpenError: Error, Sendable, CustomStringConvertible {
  /// The schema has no store, or one at another migration than this binary's.
  case notMigrated(SchemaName, Migrator.Status)
  case encryption(EncryptionError)
  case unavailable(PostgreSQLError)
  case database(PostgreSQLError)

  public var description: String {
    switch self {
    case .notMigrated(let schema, .absent):
      "there is no event store in schema \(schema): make one with `esctl migrate`"
    case .notMigrated(let schema, .behind(let at, let missing)):
      "the event store in schema \(schema) is at migration \(at), \(missing) behind: run `esctl migrate`"
    case .notMigrated(let schema, .newer(let at)):
      "the event store in schema \(schema) is at migration \(at), newer than this binary: use a newer binary"
    case .notMigrated(let schema, .upToDate): "the event store in schema \(schema) is up to date"
    case .encryption(let error): error.description
    case .unavailable(let error): "the database is unavailable: \(error)"
    case .database(let error): "the event store could not be opened: \(error)"
    }
  }
}
