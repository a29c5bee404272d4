internal import FoundationEssentials
internal import PostgreSQL

/// A call that appends events at versions which this process has seen to be free: a plain insert, which finds whoever
/// was there before. See schema/functions/append_placed.sql and append_event.sql.
struct PlacedCall {
  private let appends: [SealedAppend]
  /// The version before each one's first event.
  let previousVersions: [Int]
  /// How they travel, as indices of `appends`.
  private let order: Order
  /// Whether it is one event, which has a function of its own.
  private let isSingle: Bool

  private enum Order {
    /// As they are given.
    case given
    case append([Int])
    /// The append of each event in turn.
    case event([Int])
  }

  /// - Parameters:
  ///   - appends: Placed; a stream has one, or several that expect no version. They travel by stream id: two calls then
  ///     wait for each other in one order only, which rules out deadlock.
  ///   - inTransaction: Whether it is part of a transaction, which then survives a conflict.
  init(_ appends: [SealedAppend], inTransaction: Bool) {
    self.appends = appends
    isSingle = !inTransaction && appends.count == 1 && appends[0].events.count == 1
    if appends.count == 1 {
      order = .given
      previousVersions = [appends[0].previousVersion]
    } else {
      var ranks = appends.enumerated().map { (id: $1.streamID, index: $0) }
      ranks.sort { $0.id == $1.id ? $0.index < $1.index : $0.id < $1.id }
      order = .append(ranks.map(\.index))
      var previousVersions = [Int](repeating: 0, count: appends.count)
      var last: (id: Int64, version: Int) = (0, 0)
      for (id, index) in ranks {
        let previous = id == last.id ? last.version : appends[index].previousVersion
        previousVersions[index] = previous
        last = (id, previous + appends[index].events.count)
      }
      self.previousVersions = previousVersions
    }
  }

  /// Appends their events in the order that `order` gives: the append of each event.
  init(_ appends: [SealedAppend], interleaved order: [Int]) {
    self.appends = appends
    self.order = .event(order)
    previousVersions = appends.map(\.previousVersion)
    isSingle = false
  }

  func send(on connection: Connection, _ queries: Queries) -> PendingResult {
    if isSingle { return connection.send(queries.appendEvent, single(appends[0], appends[0].events[0])) }
    return connection.send(queries.appendPlaced, parameters)
  }

  /// Whether a failure of the call says that someone was there before, so that nothing was appended.
  func isConflict(_ error: PostgreSQLError) -> Bool { isSingle && error.sqlState == "23505" }

  private func single(_ append: SealedAppend, _ event: SealedEvent) -> Parameters {
    var parameters = Parameters(reservingBytes: append.byteCount + 64)
    parameters.append(append.streamID)
    parameters.append(previousVersions[0] + 1)
    parameters.append(append.isUnplaced)
    parameters.append(event.id)
    parameters.append(event.type)
    parameters.append(event.schemaVersion)
    if let time = event.occurredAt {
      parameters.append(time, as: TypeOID.timestamptz)
    } else {
      parameters.appendNull(TypeOID.timestamptz)
    }
    event.metadata.isEmpty ? parameters.appendNull(TypeOID.bytea) : parameters.append(Bytea(event.metadata))
    parameters.append(Bytea(event.envelope))
    return parameters
  }

  private var parameters: Parameters {
    var columns = EventColumns(
      events: appends.reduce(0) { $0 + $1.events.count }, bytes: appends.reduce(0) { $0 + $1.byteCount })
    var streamIDs = BinaryArray(of: TypeOID.int8, reservingBytes: 12 * columns.capacity)
    var versions = BinaryArray(of: TypeOID.int8, reservingBytes: 12 * columns.capacity)
    let someUnplaced = appends.contains(where: \.isUnplaced)
    var unplaced = BinaryArray(of: TypeOID.bool, reservingBytes: someUnplaced ? 5 * columns.capacity : 0)
    func add(_ number: Int, _ index: Int) {
      let append = appends[number]
      streamIDs.append(append.streamID)
      versions.append(Int64(previousVersions[number] + index + 1))
      if someUnplaced { unplaced.append(append.isUnplaced) }
      columns.add(append.events[index])
    }
    switch order {
    case .given:
      for append in appends.indices { for index in appends[append].events.indices { add(append, index) } }
    case .append(let order):
      for append in order { for index in appends[append].events.indices { add(append, index) } }
    case .event(let order):
      var taken = [Int](repeating: 0, count: appends.count)
      for append in order {
        add(append, taken[append])
        taken[append] += 1
      }
    }
    var parameters = Parameters(reservingBytes: columns.byteCount + 24 * columns.capacity + 200)
    parameters.append(streamIDs)
    parameters.append(versions)
    someUnplaced ? parameters.append(unplaced) : parameters.appendNull(unplaced.typeOID)
    columns.add(to: &parameters)
    return parameters
  }

  /// The verdicts, in the order in which the appends were given, without positions where they were interleaved; `nil`
  /// where someone was there before, so that nothing was appended.
  func verdicts(_ rows: Rows) -> [Verdict]? {
    guard !rows.isNull(rows.count - 1, 0) else { return nil }
    if isSingle { return [verdict(0, [Position(rows.int64(0, 0))])] }
    var verdicts = [Verdict](repeating: .refusedWithGroup, count: appends.count)
    var next = 0
    func take(_ append: Int) {
      let end = next + appends[append].events.count
      verdicts[append] = verdict(append, (next..<end).map { Position(rows.int64($0, 0)) })
      next = end
    }
    switch order {
    case .given: for append in appends.indices { take(append) }
    case .append(let order): for append in order { take(append) }
    case .event:
      for append in appends.indices { verdicts[append] = verdict(append, []) }
    }
    return verdicts
  }

  private func verdict(_ append: Int, _ positions: [Position]) -> Verdict {
    .appended(
      streamID: appends[append].streamID, firstVersion: previousVersions[append] + 1, positions: positions)
  }
}
