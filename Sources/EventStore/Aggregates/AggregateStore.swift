internal import Logging
internal import PostgreSQL
internal import Synchronization

/// Loads aggregates, asks for decisions, and appends the events: with the version that was loaded expected, and tried
/// again when another writer was first.
///
/// ```swift
/// let accounts = AggregateStore(log, Account.self)
/// try await accounts.create(Account.self, "42") { _ in [.opened(owner: "Ada")] }
/// try await accounts.update(Account.self, "42") { try $0.withdraw(500) }
/// let then = try await accounts.load(Account.self, "42", at: .version(17))
/// ```
///
/// Loads begin at the newest snapshot. Snapshots are made of what was loaded: in the background while ``run()`` runs,
/// else at the end of the load, or of the update, that found one due; never before an append.
public final class AggregateStore: Sendable {
  /// Where it loads from and appends to.
  public let log: any EventLog
  let codec: EventCodec
  let aggregates: [any Aggregate.Type]
  let retries: ConflictRetries
  let snapshots: (any SnapshotStore)?
  let snapshotQueue = SnapshotQueue()
  /// At which version no snapshot could be kept.
  private let refusedSnapshots = Mutex(GenerationalCache<StreamName, Int>(capacity: 10_000))

  /// - Parameters:
  ///   - aggregates: Those whose snapshots ``run()`` makes when their streams have grown.
  ///   - codec: The upcasters of older events.
  ///   - usesSnapshots: `false`: every load is a full replay, and none is made.
  public init(
    _ log: any EventLog, _ aggregates: any Aggregate.Type..., codec: EventCodec = EventCodec(),
    retries: ConflictRetries = ConflictRetries(), usesSnapshots: Bool = true
  ) {
    self.log = log
    self.aggregates = aggregates
    self.codec = codec
    self.retries = retries
    snapshots = usesSnapshots ? log.snapshots : nil
  }

  // MARK: Loading

  /// The aggregate as it is, or was, to look at.
  ///
  /// - Throws: ``AggregateError``: `notFound`; `versionNotReached`, `notYet` for another moment than the latest;
  ///   `event`, `missing`. ``ReadError``.
  public func load<A: Aggregate>(
    _ type: A.Type = A.self, _ id: String, at moment: Moment = .latest
  ) async throws -> Loaded<A> {
    let (folded, stream) = try await fold(type, id, at: moment)
    if moment == .latest { await keepSnapshot(of: folded, stream) }
    guard folded.version > 0 else {
      if case .time(let time) = moment,
        let first = try await log.read(stream, .upTo(1)).collect().first
      {
        throw AggregateError.notYet(stream, asked: time, first: first.time)
      }
      throw AggregateError.notFound(stream)
    }
    return Loaded(id: id, stream: stream, version: folded.version, state: folded.state)
  }

  func fold<A: Aggregate>(
    _ type: A.Type, _ id: String, at moment: Moment
  ) async throws -> (Folded<A>, StreamName) {
    let stream: StreamName
    do { stream = try type.stream(id) } catch { throw AggregateError.invalidName(error) }
    return (try await folder(type).state(of: stream, at: moment), stream)
  }

  func folder<A: Aggregate>(_ type: A.Type) -> StreamFolder<AggregateFold<A>> {
    StreamFolder(log, AggregateFold<A>(codec), snapshots: snapshots)
  }

  // MARK: Deciding

  /// Makes a new aggregate of the events that `decide` returns.
  ///
  /// - Parameter decide: Gets the state before the first event.
  /// - Throws: What `decide` throws; `AggregateError.alreadyExists`; ``AppendError``.
  @discardableResult
  public func create<A: Aggregate>(
    _ type: A.Type = A.self, _ id: String, metadata: Metadata = Metadata(), subject: String? = nil,
    _ decide: (A) async throws -> [A.Event]
  ) async throws -> Loaded<A> {
    let stream: StreamName
    do { stream = try type.stream(id) } catch { throw AggregateError.invalidName(error) }
    let new = Loaded(id: id, stream: stream, version: 0, state: A())
    let events = try await decide(new.state)
    guard !events.isEmpty else { return new }
    let data = try events.map { try codec.encode($0, metadata: metadata, subject: subject) }
    do {
      try await append([StreamAppend(data, to: stream, expecting: .noStream)])
      return Loaded(id: id, stream: stream, version: events.count, state: A.folding(events))
    } catch AppendError.conflict(let conflict) {
      throw AggregateError.alreadyExists(stream, version: conflict.actual)
    }
  }

  /// Changes an aggregate by the events that `decide` returns: none, and nothing is appended.
  ///
  /// - Parameters:
  ///   - metadata: Of each event.
  ///   - subject: Whose data the events are, for encryption; default: the stream.
  ///   - createsIfAbsent: Whether a stream without events is begun, instead of `notFound`.
  ///   - decide: Asked again, with the new state, when another writer was first: it should do nothing else.
  /// - Returns: The aggregate with the new events.
  /// - Throws: What `decide` throws; `AggregateError.notFound` and `event`; ``AppendError``, with `conflict` once the
  ///   ``ConflictRetries`` are used up.
  @discardableResult
  public func update<A: Aggregate>(
    _ type: A.Type = A.self, _ id: String, metadata: Metadata = Metadata(), subject: String? = nil,
    createsIfAbsent: Bool = false, _ decide: (A) async throws -> [A.Event]
  ) async throws -> Loaded<A> {
    try await transact { transaction in
      let loaded = try await transaction.load(type, id, mayBeAbsent: createsIfAbsent)
      return try transaction.append(
        try await decide(loaded.state), to: loaded, metadata: metadata, subject: subject)
    }
  }

  /// Loads several aggregates, decides, and appends to those that change: all of it, or nothing.
  ///
  /// Each aggregate that is appended to is still the one that was loaded; for one that was only looked at that is not
  /// checked.
  ///
  /// ```swift
  /// try await store.transact { transaction in
  ///   let from = try await transaction.load(Account.self, "1")
  ///   let to = try await transaction.load(Account.self, "2")
  ///   try transaction.append(try from.state.send(500), to: from)
  ///   try transaction.append(to.state.receive(500), to: to)
  /// }
  /// ```
  ///
  /// - Parameter body: Run again from the beginning when another writer was first.
  /// - Throws: What `body` throws; ``AppendError``.
  @discardableResult
  public func transact<R>(_ body: (AggregateTransaction) async throws -> R) async throws -> R {
    var attempt = 1
    while true {
      let transaction = AggregateTransaction(self)
      let result = try await body(transaction)
      do throws(AppendError) {
        if !transaction.appends.isEmpty { try await append(transaction.appends) }
      } catch {
        guard case .conflict = error, attempt < retries.attempts else { throw error }
        try await Task.sleep(for: retries.pause(after: attempt))
        attempt += 1
        continue
      }
      for keep in transaction.snapshots { await keep() }
      return result
    }
  }

  /// Where the outcome stays unknown the same events are sent again: to decide again could do it twice. Once unknown, it
  /// stays so until the log has said otherwise. (Of what is written, and not confirmed by a standby, it would say no more than
  /// that it is written.)
  private func append(_ appends: [StreamAppend]) async throws(AppendError) {
    var unknown: AppendError?
    for _ in 1...3 {
      do throws(AppendError) {
        _ = try await log.append(appends)
        return
      } catch {
        switch error {
        case .outcomeUnknown(let reason) where reason.code == .unconfirmed: throw error
        case .outcomeUnknown: unknown = error
        case .conflict, .duplicateEventID: throw error
        default: throw unknown ?? error
        }
      }
    }
    if let unknown { throw unknown }
  }

  // MARK: Snapshots

  /// Keeps a snapshot of what was folded, if one is due. That it cannot be kept is no error of whoever loaded.
  func keepSnapshot<A: Aggregate>(of folded: Folded<A>, _ stream: StreamName) async {
    let folder = folder(A.self)
    // What could not be kept is not tried again before the stream has grown as much again.
    let refused = refusedSnapshots.withLock { $0[stream] } ?? 0
    guard folder.isSnapshotDue(folded), refused == 0 || folded.version - refused >= A.snapshotPolicy.smallestGrowth
    else { return }
    let save: @Sendable () async -> Void = { [self] in await self.save(folded, of: stream) }
    if !snapshotQueue.add(stream, version: folded.version, save) { await save() }
  }

  func save<A: Aggregate>(_ folded: Folded<A>, of stream: StreamName) async {
    guard let snapshots else { return }
    guard let snapshot = folder(A.self).snapshot(folded, of: stream) else {
      refusedSnapshots.withLock { $0[stream] = folded.version }
      Logger.current.warning(
        "A state does not come back from its own encoding: no snapshot is kept", metadata: ["stream": "\(stream)"])
      return
    }
    do {
      if try await !snapshots.save(snapshot) { refusedSnapshots.withLock { $0[stream] = folded.version } }
    } catch {
      Logger.current.warning(
        "A snapshot could not be kept", metadata: ["stream": "\(stream)", "error": "\(error)"])
    }
  }
}

/// How often an update that lost against another writer is tried again.
public struct ConflictRetries: Sendable, Hashable {
  /// In all, from 1.
  public var attempts: Int
  /// The longest pause after the first one; it doubles with each, up to ``longestPause``. Each pause is drawn at random
  /// below that ("full jitter"), so that writers who met do not meet again.
  public var firstPause: Duration
  /// No pause is longer.
  public var longestPause: Duration

  /// - Parameter attempts: At least 1, or it traps.
  public init(
    attempts: Int = 10, firstPause: Duration = .milliseconds(2), longestPause: Duration = .milliseconds(100)
  ) {
    precondition(attempts >= 1, "at least one attempt")
    self.attempts = attempts
    self.firstPause = firstPause
    self.longestPause = longestPause
  }

  /// One attempt: the first conflict is thrown.
  public static let none = ConflictRetries(attempts: 1)

  func pause(after attempt: Int) -> Duration {
    min(longestPause, firstPause * (1 << min(attempt - 1, 16))) * Double.random(in: 0...1)
  }
}
