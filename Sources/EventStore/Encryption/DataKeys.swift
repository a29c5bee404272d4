internal import FoundationEssentials
internal import Logging
internal import PostgreSQL
internal import Synchronization

/// The data keys of one store that this process has in hand, by subject for writing and by id for reading.
final class DataKeys: Sendable {
  /// A key to seal with; `row` as long as the store may not have it.
  struct Current: Sendable {
    let key: DataKey
    let row: DataKeyRow?
  }

  /// Each holds up to twice its capacity: what both hold is once in memory. So at most 28,000 keys stay, 15 MB of memory
  /// to be locked; a process may usually lock 8 MiB.
  private struct Known {
    var bySubject = GenerationalCache<ExactName, Current>(capacity: 7_000)
    var byID = GenerationalCache<UUID, Result<DataKey, PayloadError>>(capacity: 7_000)
  }
  private let known = Mutex(Known())
  private let keyring: Keyring?
  private let laterKeyring: (@Sendable () -> Keyring?)?
  private let queries: Queries
  private let logger: Logger
  private let hasWarned = Atomic<Bool>(false)

  init(
    _ keyring: Keyring?, or laterKeyring: (@Sendable () -> Keyring?)? = nil, _ queries: Queries, _ logger: Logger
  ) {
    self.keyring = keyring
    self.laterKeyring = laterKeyring
    self.queries = queries
    self.logger = logger
  }

  private func warnOfSwap() {
    let shortfall = KeyArena.lockedMemoryShortfall
    guard shortfall > 0, !hasWarned.exchange(true, ordering: .relaxed) else { return }
    logger.warning(
      "Keys in memory could not be locked and may reach the swap: raise the limit (ulimit -l)",
      metadata: ["bytes": "\(shortfall)"])
  }

  // MARK: Writing

  func current(for subject: String) -> Current? { known.withLock { $0.bySubject[ExactName(subject)] } }

  /// A new key for a subject that has none. It counts as the store's only once an append has carried it there.
  ///
  /// - Parameter isOnlyTransactions: Others do not get it: who brought along a key that an open transaction has written would
  ///   wait for that.
  func make(for subject: String, isOnlyTransactions: Bool = false) throws(EncryptionError) -> Current {
    guard let keyring else { throw .noMasterKey }
    let key = DataKey.generate(subject: subject)
    let row = DataKeyRow(
      id: key.id, subject: subject, masterKeyID: keyring.active.id, wrapped: key.wrapped(by: keyring.active))
    let new = Current(key: key, row: row)
    warnOfSwap()
    if isOnlyTransactions { return new }
    return known.withLock { known in
      // Another task was first: one key is enough.
      if let current = known.bySubject[ExactName(subject)] { return current }
      known.bySubject[ExactName(subject)] = new
      return new
    }
  }

  /// What came of an append that was committed: one that wrote has brought its keys along.
  func confirm(_ append: SealedAppend, _ verdict: Verdict) {
    if !append.newKeys.isEmpty, case .appended = verdict { confirm(append.newKeys) }
  }

  /// After a lost connection, as ``StreamDirectory/forget()``.
  func forget() { known.withLock { $0 = Known() } }

  private func confirm(_ rows: [DataKeyRow]) {
    known.withLock { known in
      for row in rows {
        if let current = known.bySubject[ExactName(row.subject)], current.key.id == row.id {
          known.bySubject[ExactName(row.subject)] = Current(key: current.key, row: nil)
          known.byID[row.id] = .success(current.key)
        }
      }
    }
  }

  /// Looks in the store for the keys of subjects.
  func fetch(subjects: [String], _ connection: Connection) async throws(PostgreSQLError) {
    _ = learnCurrent(try await ask(forSubjects: subjects, connection).promptRows())
  }

  func ask(forSubjects subjects: [String], _ connection: Connection) -> PendingResult {
    connection.send(queries.keysBySubject, Parameters(BinaryArray(subjects)))
  }

  /// What was asked for.
  ///
  /// - Returns: Keys that the asking transaction itself has written: they may be rolled back with it, and travel again with
  ///   what they seal.
  func learnCurrent(_ rows: Rows) -> [ExactName: Current] {
    var own: [ExactName: Current] = [:]
    for index in rows.indices {
      // One that does not open is left alone: writers go on with a new key, readers report it.
      guard case .success(let key) = opened(rows, index) else { continue }
      let subject = ExactName(key.subject)
      if rows.bool(index, 4) {
        let row = DataKeyRow(
          id: key.id, subject: key.subject, masterKeyID: rows.text(index, 2), wrapped: rows.byteArray(index, 3))
        own[subject] = Current(key: key, row: row)
        continue
      }
      known.withLock { known in
        known.byID[key.id] = .success(key)
        if known.bySubject[subject].map({ $0.row != nil }) ?? true {
          known.bySubject[subject] = Current(key: key, row: nil)
        }
      }
    }
    return own
  }

  // MARK: Reading

  func key(_ id: UUID) -> Result<DataKey, PayloadError>? { known.withLock { $0.byID[id] } }

  /// Looks in the store for keys by their ids.
  @discardableResult
  func fetch(
    ids: [UUID], _ connection: Connection
  ) async throws(PostgreSQLError) -> [UUID: Result<DataKey, PayloadError>] {
    learn(try await ask(for: ids, connection).promptRows(), ids)
  }

  func ask(for ids: [UUID], _ connection: Connection) -> PendingResult {
    connection.send(queries.keysByID, Parameters(BinaryArray(ids)))
  }

  /// What was asked for. Why a key cannot be had is remembered too, unless that can be mended in the store.
  ///
  /// - Returns: The same, whatever is forgotten of it meanwhile.
  func learn(_ rows: Rows, _ ids: [UUID]) -> [UUID: Result<DataKey, PayloadError>] {
    var found: [UUID: Result<DataKey, PayloadError>] = [:]
    found.reserveCapacity(ids.count)
    for index in rows.indices { found[rows.uuid(index, 0)] = opened(rows, index) }
    warnOfSwap()
    for id in ids where found[id] == nil { found[id] = .failure(.dataKeyMissing(key: id.uuidString.lowercased())) }
    known.withLock { known in
      for (id, key) in found where !key.mayBeMended { known.byID[id] = key }
    }
    return found
  }

  private func opened(_ rows: Rows, _ index: Int) -> Result<DataKey, PayloadError> {
    let subject = rows.text(index, 1)
    let masterKeyID = rows.text(index, 2)
    if rows.isNull(index, 3) { return .failure(.shredded(subject: subject)) }
    guard let masterKey = (keyring ?? laterKeyring?())?[masterKeyID] else {
      return .failure(.masterKeyMissing(masterKey: masterKeyID))
    }
    return Result { () throws(PayloadError) in
      try DataKey(
        id: rows.uuid(index, 0), subject: subject, wrapped: rows.byteArray(index, 3), masterKey: masterKey)
    }
  }
}

extension Result<DataKey, PayloadError> {
  /// Whether the store may have the key another time, as its row was lost or altered: see `PayloadError`.
  var mayBeMended: Bool {
    switch self {
    case .failure(.dataKeyMissing), .failure(.dataKeyAltered): true
    default: false
    }
  }
}
