internal import FoundationEssentials
public import PostgreSQL
internal import Synchronization

extension PostgreSQLEventLog {
  public func append(_ appends: [StreamAppend]) async throws(AppendError) -> [Appended] {
    let appends = TraceContext.carried(appends, by: configuration.tracer)
    let newestConnection = sealer.newestConnection
    let sealed: [SealedAppend]
    if let known = try sealer.sealKnown(appends) {
      sealed = known
    } else {
      sealed = try await patiently { () throws(AppendError) in
        try await sealer.seal(appends) { () throws(PostgreSQLError) in
          let lease = try await pool.lease()
          return (lease.connection, lease)
        }
      }
    }
    let request = AppendRequest(sealed, of: appends, upTo: newestConnection)
    let verdicts = try await appender.append(request).get()
    if let results = try resultsOfNew(appends, verdicts) { return results }
    return try await patiently { () throws(AppendError) in try await resultsOfEarlier(appends, verdicts) }
  }

  /// Tries again while the server is away, for as long as an append may wait. What it runs only reads.
  func patiently<R>(_ body: () async throws(AppendError) -> R) async throws(AppendError) -> R {
    var start: ContinuousClock.Instant?
    var pause = Duration.milliseconds(20)
    while true {
      do throws(AppendError) {
        return try await body()
      } catch {
        switch error {
        case .unavailable(let reason) where reason.code == .closed,
          .outcomeUnknown(let reason) where reason.code == .closed:
          throw error
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
    let appends = TraceContext.carried(appends, by: configuration.tracer)
    sealer.prepare(for: connection)
    let sealed = try await sealer.seal(appends, inTransaction: true) { () throws(PostgreSQLError) in (connection, nil) }
    // What it says of new streams and keys is not learned: the transaction may be rolled back.
    let verdicts = try await database { () throws(PostgreSQLError) in
      try await AppendCall([AppendRequest(sealed)], inTransaction: true, on: connection, queries).verdicts().get()
    }
    appendsInTransactions.wrappingAdd(1, ordering: .relaxed)
    if let results = try resultsOfNew(appends, verdicts[...]) { return results }
    return try await resultsOfEarlier(appends, verdicts[...], inTransactionOn: connection)
  }

  /// Appends to one stream inside the caller's own transaction; see ``append(_:in:)``.
  @discardableResult
  public func append(
    _ events: [EventData], to stream: StreamName, expecting expected: ExpectedVersion,
    in transaction: borrowing Transaction
  ) async throws(AppendError) -> Appended {
    try await append([StreamAppend(events, to: stream, expecting: expected)], in: transaction)[0]
  }

  /// A transaction on a connection of the log's own pool: committed when `body` returns, rolled back when it throws.
  ///
  /// - Throws: What `body` throws; or `PostgreSQLError`. `connectionLost` and `unconfirmed`, from COMMIT, leave the outcome
  ///   unknown.
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

  /// What the caller is told of what was appended, or conflicts; `nil` where a part was there before.
  func resultsOfNew(_ appends: [StreamAppend], _ verdicts: ArraySlice<Verdict>) throws(AppendError) -> [Appended]? {
    var results: [Appended] = []
    results.reserveCapacity(appends.count)
    for (append, verdict) in zip(appends, verdicts) {
      switch verdict {
      case .appended(_, let firstVersion, let positions):
        results.append(
          Appended(stream: append.stream, firstVersion: firstVersion, positions: positions, wasDuplicate: false))
      case .conflict(let actual):
        throw .conflict(VersionConflict(stream: append.stream, expected: append.expected, actual: actual))
      case .duplicate, .refusedWithGroup: continue
      }
    }
    return results.count == appends.count ? results : nil
  }

  /// What the caller is told of what was there before, after it was compared with what is asked now.
  ///
  /// - Parameter connection: The caller's transaction's, which sees what it has written itself.
  func resultsOfEarlier(
    _ appends: [StreamAppend], _ verdicts: ArraySlice<Verdict>, inTransactionOn connection: Connection? = nil
  ) async throws(AppendError) -> [Appended] {
    var results: [Appended] = []
    for (append, verdict) in zip(appends, verdicts) {
      guard case .duplicate(let firstVersion, let streamID) = verdict else { continue }
      let versions = firstVersion...(firstVersion + append.events.count - 1)
      let recorded: [RecordedEvent]
      if let connection {
        recorded = try await database { () throws(PostgreSQLError) in
          try await events(of: append.stream, streamID, versions, on: connection)
        }
      } else {
        directory.learn(append.stream, id: streamID)
        recorded = try await earlier(append.stream, versions)
      }
      results.append(try Self.result(append, firstVersion, recorded))
    }
    // A part of this atomic append was there before and another was not: not the same append.
    guard results.count == appends.count else { throw duplicate(appends, verdicts) }
    return results
  }

  /// Events as a transaction sees them. What it may yet roll back is not learned.
  private func events(
    of stream: StreamName, _ id: Int64, _ versions: ClosedRange<Int>, on connection: Connection
  ) async throws(PostgreSQLError) -> [RecordedEvent] {
    let rows = try await connection.execute(
      queries.streamForwards,
      Parameters(id, versions.lowerBound, versions.upperBound, versions.count, PayloadCap.none.bytes))
    let decoder = makeDecoder()
    decoder.learn(stream, of: id)
    return try await decoder.events(rows) { () throws(PostgreSQLError) in connection }
  }

  private func duplicate(_ appends: [StreamAppend], _ verdicts: ArraySlice<Verdict>) -> AppendError {
    for (append, verdict) in zip(appends, verdicts) {
      if case .duplicate = verdict {
        return .duplicateEventID(id: append.events[0].id.uuidString.lowercased(), stream: append.stream)
      }
    }
    preconditionFailure("a group is refused only for a conflict or an earlier try")
  }

  /// What the earlier try wrote.
  private func earlier(_ stream: StreamName, _ versions: ClosedRange<Int>) async throws(AppendError) -> [RecordedEvent]
  {
    do throws(ReadError) {
      return try await read(stream, StreamRange(versions: versions)).collect()
    } catch {
      // The earlier try may have been this very append, sent again after its connection broke.
      switch error {
      case .unavailable(let error), .database(let error): throw .outcomeUnknown(error)
      case .encryption(let error): throw .encryption(error)
      case .cancelled:
        throw .outcomeUnknown(PostgreSQLError(.cancelled, "cancelled while an earlier try was compared"))
      }
    }
  }

  /// The result of the earlier try, if it wrote the same events.
  private static func result(
    _ append: StreamAppend, _ firstVersion: Int, _ recorded: [RecordedEvent]
  ) throws(AppendError) -> Appended {
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
      throw AppendError(error)
    }
  }
}

extension AppendError {
  /// What the database says before anything was sent to be appended.
  init(_ error: PostgreSQLError) {
    self =
      if error.code == .cancelled {
        .cancelled
      } else if error.isUnavailable || error.code == .closed {
        .unavailable(error)
      } else {
        .database(error)
      }
  }
}
