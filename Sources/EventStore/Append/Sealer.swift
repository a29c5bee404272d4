internal import FoundationEssentials
internal import PostgreSQL
internal import Synchronization

/// What must be known and done before an append is sent: the stream's id, the subject's key, and the payloads sealed.
///
/// What is known of the store was true when it was learned, and counts on connections that were made before: their server,
/// as long as they work, has lost nothing since. A later one may lead to a server that has, because it does not wait for its
/// disk and crashed, or was a standby that had not got everything. So before such a connection is used, all is forgotten,
/// and what was sealed before is sealed again: else an event could end up under an id that is another stream's by then, or
/// under a key that no longer exists.
final class Sealer: Sendable {
  let directory: StreamDirectory
  let keys: DataKeys
  let plaintextCategories: PlaintextCategories
  private let maximumPayloadBytes: Int
  private let isReadOnly: Bool
  private let newest = Atomic<UInt64>(0)

  init(
    _ directory: StreamDirectory, _ keys: DataKeys, _ plaintextCategories: PlaintextCategories,
    maximumPayloadBytes: Int, isReadOnly: Bool
  ) {
    self.directory = directory
    self.keys = keys
    self.plaintextCategories = plaintextCategories
    self.maximumPayloadBytes = maximumPayloadBytes
    self.isReadOnly = isReadOnly
  }

  /// The last of the connections (``Connection/serial``) on which what is sealed from now on may be sent.
  var newestConnection: UInt64 { newest.load(ordering: .acquiring) }

  /// Forgets what does not count on this connection.
  func prepare(for connection: Connection) {
    guard newestConnection < connection.serial else { return }
    let newest = Connection.newestSerial
    directory.forget()
    keys.forget()
    self.newest.max(newest, ordering: .releasing)
  }

  /// The requests as they may be sent on a connection: sealed again, where they were sealed for older ones only.
  func sealed(
    _ requests: [AppendRequest], for connection: Connection
  ) async throws(AppendError) -> [AppendRequest] {
    prepare(for: connection)
    let newestConnection = newestConnection
    func isStale(_ request: AppendRequest) -> Bool { request.newestConnection < connection.serial }
    let stale = requests.filter(isStale).flatMap(\.appends)
    _ = try await lookUp(stale, inTransaction: false) { () throws(PostgreSQLError) in (connection, nil) }
    var sealed: [AppendRequest] = []
    for request in requests {
      guard isStale(request) else {
        sealed.append(request)
        continue
      }
      guard let parts = try self.sealed(request.appends, false, afterLookUp: true) else {
        preconditionFailure("looked up")
      }
      sealed.append(AppendRequest(parts, of: request.appends, upTo: newestConnection))
    }
    return sealed
  }

  /// What came of an append that was committed.
  func learn(_ append: SealedAppend, _ verdict: Verdict, of call: AppendCall) {
    directory.learn(append, verdict, since: call.newestConnection)
    keys.confirm(append, verdict)
  }

  /// Checks, finds ids and keys, seals.
  func seal(
    _ appends: [StreamAppend], inTransaction: Bool = false,
    _ connect: () async throws(PostgreSQLError) -> (Connection, ConnectionPool.Lease?)
  ) async throws(AppendError) -> [SealedAppend] {
    if let sealed = try sealKnown(appends, inTransaction: inTransaction) { return sealed }
    let own = try await lookUp(appends, inTransaction: inTransaction, connect)
    guard let sealed = try sealed(appends, inTransaction, afterLookUp: true, own) else {
      preconditionFailure("looked up")
    }
    return sealed
  }

  /// Checks and seals; `nil` where something must be looked up first.
  func sealKnown(_ appends: [StreamAppend], inTransaction: Bool = false) throws(AppendError) -> [SealedAppend]? {
    guard !isReadOnly else { throw .invalid("the log was opened read-only") }
    try AppendChecks.check(appends, maximumPayloadBytes: maximumPayloadBytes)
    return try sealed(appends, inTransaction, afterLookUp: false)
  }

  /// - Parameter own: Keys that only the caller's transaction has.
  /// - Returns: `nil` where something must be looked up first.
  func sealed(
    _ appends: [StreamAppend], _ inTransaction: Bool, afterLookUp: Bool, _ own: [ExactName: DataKeys.Current] = [:]
  ) throws(AppendError) -> [SealedAppend]? {
    var own = own
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
          if let key = key(for: subject, inTransaction) {
            current = (subject, key)
          } else if let key = own[ExactName(subject)] {
            current = (subject, key)
          } else {
            guard afterLookUp || (isNew && event.subject == nil) else { return nil }
            let new = try makeKey(for: subject, isOnlyTransactions: inTransaction)
            if inTransaction { own[ExactName(subject)] = new }
            current = (subject, new)
          }
          if let row = current?.key.row, !newKeys.contains(where: { $0.id == row.id }) { newKeys.append(row) }
        }
        events.append(seal(event, for: append.stream, key: current?.key.key))
      }
      // What the caller's transaction itself has appended is not known here: where its next version goes, the server says.
      let isKnown = entry != nil && (!inTransaction || append.expected.code > 0)
      let mayBeMade = entry == nil && !inTransaction && append.expected.mayBeFirst
      sealed.append(
        SealedAppend(
          stream: append.stream, entry: entry, expected: append.expected,
          mayBePlaced: (isKnown || mayBeMade) && !directory.isDoubted(entry), events: events, newKeys: newKeys))
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
            occurredAt: occurredAt.map { $0 &+ microsecondsFrom1970To2000 }))
      } else {
        Envelope.plaintext(event.payload)
      }
    return SealedEvent(
      id: event.id, type: event.type, schemaVersion: Int32(event.schemaVersion), occurredAt: occurredAt,
      metadata: event.metadata.json, envelope: envelope)
  }

  /// A key to seal with, as far as it is known here.
  private func key(for subject: String, _ inTransaction: Bool) -> DataKeys.Current? {
    let current = keys.current(for: subject)
    // One that is on its way with another append would be waited for, or that for this transaction.
    return inTransaction && current?.row != nil ? nil : current
  }

  func makeKey(for subject: String, isOnlyTransactions: Bool = false) throws(AppendError) -> DataKeys.Current {
    do { return try keys.make(for: subject, isOnlyTransactions: isOnlyTransactions) } catch { throw .encryption(error) }
  }

  /// Looks up what this process has not met yet. A stream that is expected to be new needs no look: the append itself
  /// will say if it is not.
  ///
  /// Not streams in the caller's transaction, which may see its own new streams, and be rolled back: there the names
  /// travel.
  ///
  /// - Returns: Keys that only the caller's transaction has.
  func lookUp(
    _ appends: [StreamAppend], inTransaction: Bool,
    _ connect: () async throws(PostgreSQLError) -> (Connection, ConnectionPool.Lease?)
  ) async throws(AppendError) -> [ExactName: DataKeys.Current] {
    var streams: [StreamName] = []
    var subjects: Set<String> = []
    for append in appends {
      let isNew = append.expected.code == 0
      if !isNew, !inTransaction, directory.entry(of: append.stream) == nil { streams.append(append.stream) }
      guard !plaintextCategories.contains(stream: append.stream) else { continue }
      for event in append.events {
        let subject = event.subject ?? append.stream.description
        if event.subject == nil, isNew { continue }
        if key(for: subject, inTransaction) == nil { subjects.insert(subject) }
      }
    }
    guard !streams.isEmpty || !subjects.isEmpty else { return [:] }
    do throws(PostgreSQLError) {
      let (connection, lease) = try await connect()
      defer { withExtendedLifetime(lease) {} }
      // One round trip.
      let ids = streams.isEmpty ? nil : directory.askForIDs(of: streams, connection)
      let found = subjects.isEmpty ? nil : keys.ask(forSubjects: Array(subjects), connection)
      if let ids { directory.learnIDs(try await ids.promptRows()) }
      return if let found { keys.learnCurrent(try await found.promptRows()) } else { [:] }
    } catch {
      throw AppendError(error)
    }
  }
}
