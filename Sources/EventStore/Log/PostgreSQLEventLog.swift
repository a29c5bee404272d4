public import FoundationEssentials
package import PostgreSQL
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
  /// What it was opened with.
  public let configuration: EventLogConfiguration
  /// Which store this is: given when it was made.
  public let storeID: UUID
  package let pool: ConnectionPool
  let queries: Queries
  let directory: StreamDirectory
  let keys: DataKeys
  let hints: Hints
  let tail: LogTail
  let plaintextCategories: PlaintextCategories
  let sealer: Sealer
  let appender: Appender
  let announcer: Announcer
  /// So that readers are told of them, once they are committed.
  let appendsInTransactions = Atomic<Int>(0)
  /// Where the server's hints arrive; `nil`: readers look for themselves.
  let listener: Listener?

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
  ///
  /// - Throws: ``OpenError``, and what `body` throws.
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
      let store = try await pool.execute(queries.store)
      let storeID = store.uuid(0, 0)
      if case .sealed(let keyring) = configuration.encryption, !configuration.isReadOnly {
        try await claim(storeID, keyring, queries, pool)
      }
      return PostgreSQLEventLog(configuration, pool, queries, storeID, hasMasterKey: !store.isNull(0, 1))
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
    _ configuration: EventLogConfiguration, _ pool: ConnectionPool, _ queries: Queries, _ storeID: UUID,
    hasMasterKey: Bool
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
    let keys = DataKeys(keyring, or: configuration.laterKeyring, queries, configuration.logger)
    self.directory = directory
    self.keys = keys
    // A store that was ever sealed stays so for those who have no key: they take no plaintext for good, and write none.
    plaintextCategories =
      keyring == nil && !hasMasterKey ? .all : .only(configuration.plaintextCategories)
    let hints = Hints()
    self.hints = hints
    listener =
      configuration.listens ? Listener(configuration.connection, channel: queries.channel, hints: hints) : nil
    tail = LogTail(pool, queries, hints)
    let announcer = Announcer(queries, hints)
    self.announcer = announcer
    sealer = Sealer(
      directory, keys, plaintextCategories, maximumPayloadBytes: configuration.maximumPayloadBytes,
      isReadOnly: configuration.isReadOnly)
    appender = Appender(
      pool: pool, queries: queries, limits: AppendQueue.Limits(lanes: configuration.appendLanes),
      patience: configuration.appendPatience, sealer: sealer, announcer: announcer, logger: configuration.logger)
  }

  /// Waits for the appends under way, then closes every connection. Reading under way fails.
  public func close() async {
    await appender.drain()
    listener?.close()
    pool.close()
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
      return try await makeDecoder().events(rows) { () throws(PostgreSQLError) in lease.connection }
    }
  }

  /// Whose data the events' payloads are, by the id of the key that they are sealed under.
  package func subjects(of events: [RecordedEvent]) async throws(ReadError) -> [UUID: String] {
    func subject(_ key: Result<DataKey, PayloadError>?) -> String? {
      if case .success(let key)? = key { key.subject } else { nil }
    }
    var subjects: [UUID: String] = [:]
    var others: [UUID] = []
    for id in Set(events.compactMap(\.keyID)) {
      if let known = subject(keys.key(id)) { subjects[id] = known } else { others.append(id) }
    }
    guard !others.isEmpty else { return subjects }
    return try await reading { () throws(PostgreSQLError) in
      let lease = try await pool.lease()
      let found = keys.learn(try await keys.ask(for: others, lease.connection).rows(), others)
      return subjects.merging(found.compactMapValues(subject)) { $1 }
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
}
