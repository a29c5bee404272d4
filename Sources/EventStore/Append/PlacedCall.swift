internal import FoundationEssentials
internal import PostgreSQL

/// A call that appends events at versions which this process believes to be free, of streams that it knows or that are to
/// be made: a plain insert, which finds whoever was there before. See schema/functions/append_placed.sql and
/// append_event.sql.
struct PlacedCall {
  private let appends: [SealedAppend]
  /// The version before each one's first event.
  let previousVersions: [Int]
  /// How they travel, as indices of `appends`.
  private let order: Order
  /// Whether it is one event, which has a function of its own.
  private let isSingle: Bool

  private enum Order {
    case append([Int])
    /// The append of each event in turn.
    case event([Int])
  }

  /// - Parameters:
  ///   - appends: Placed; a stream has one, or several that expect no version. They travel by stream id, and new streams
  ///     behind, by name: two calls then wait for each other in one order only, which rules out deadlock.
  ///   - mayRaise: Whether a conflict may end the transaction, and the session's own limits do.
  init(_ appends: [SealedAppend], mayRaise: Bool) {
    self.appends = appends
    isSingle =
      mayRaise && appends.count == 1 && appends[0].events.count == 1 && !appends[0].isNew
      && appends[0].newKeys.isEmpty
    let order = appends.count == 1 ? [0] : Self.order(of: appends)
    var previousVersions = [Int](repeating: 0, count: appends.count)
    var before: (append: SealedAppend, version: Int)?
    for index in order {
      let append = appends[index]
      let previous =
        if let before, append.isSameStream(as: before.append) { before.version } else { append.previousVersion }
      previousVersions[index] = previous
      before = (append, previous + append.events.count)
    }
    self.order = .append(order)
    self.previousVersions = previousVersions
  }

  private static func order(of appends: [SealedAppend]) -> [Int] {
    var known = appends.enumerated().map { (id: $1.streamID, index: $0) }
    var new: [Int] = []
    if known.contains(where: { $0.id == 0 }) {
      new = known.filter { $0.id == 0 }.map(\.index)
      known.removeAll { $0.id == 0 }
      new.sort { (appends[$0].stream, $0) < (appends[$1].stream, $1) }
    }
    known.sort { $0.id == $1.id ? $0.index < $1.index : $0.id < $1.id }
    return known.map(\.index) + new
  }

  /// Appends their events in the order that `order` gives: the append of each event.
  init(_ appends: [SealedAppend], interleaved order: [Int]) {
    self.appends = appends
    self.order = .event(order)
    previousVersions = appends.map(\.previousVersion)
    isSingle = false
  }

  func send(on connection: Connection, _ queries: Queries, _ limits: CallLimits = .none) -> PendingResult {
    if isSingle {
      return connection.send(queries.appendEvent, single(appends[0], appends[0].events[0]), timeout: limits.timeout)
    }
    return connection.send(queries.appendPlaced, parameters(limits), timeout: limits.timeout)
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

  private func parameters(_ limits: CallLimits) -> Parameters {
    var columns = EventColumns(
      events: appends.reduce(0) { $0 + $1.events.count }, bytes: appends.reduce(0) { $0 + $1.byteCount })
    var streamIDs = BinaryArray(of: TypeOID.int8, reservingBytes: 12 * columns.capacity)
    var versions = BinaryArray(of: TypeOID.int8, reservingBytes: 12 * columns.capacity)
    let someUnplaced = appends.contains(where: \.isUnplaced)
    var unplaced = BinaryArray(of: TypeOID.bool, reservingBytes: someUnplaced ? 5 * columns.capacity : 0)
    var names = BinaryArray(of: TypeOID.text)
    var nameOf = BinaryArray(of: TypeOID.int4)
    var keys = KeyColumns()
    func add(_ number: Int, _ index: Int) {
      let append = appends[number]
      append.isNew ? nameOf.append(Int32(names.count)) : streamIDs.append(append.streamID)
      versions.append(Int64(previousVersions[number] + index + 1))
      if someUnplaced { unplaced.append(append.isUnplaced) }
      columns.add(append.events[index])
    }
    switch order {
    case .append(let order):
      for (index, append) in order.enumerated() {
        if startsNewStream(order, index) { names.append(appends[append].stream.description) }
        for event in appends[append].events.indices { add(append, event) }
      }
    case .event(let order):
      var taken = [Int](repeating: 0, count: appends.count)
      for append in order {
        add(append, taken[append])
        taken[append] += 1
      }
    }
    for append in appends { for key in append.newKeys { keys.add(key) } }
    var parameters = Parameters(reservingBytes: columns.byteCount + 24 * columns.capacity + 200)
    parameters.append(streamIDs)
    parameters.append(versions)
    parameters.append(unplaced, unless: !someUnplaced)
    columns.add(to: &parameters)
    parameters.append(names, unless: names.count == 0)
    parameters.append(nameOf, unless: names.count == 0)
    keys.add(to: &parameters)
    limits.addLockTimeout(to: &parameters)
    return parameters
  }

  /// Whether the append at a place of the order is the first of a stream that is to be made.
  private func startsNewStream(_ order: [Int], _ index: Int) -> Bool {
    let append = appends[order[index]]
    return append.isNew && (index == 0 || !append.isSameStream(as: appends[order[index - 1]]))
  }

  /// The verdicts, in the order in which the appends were given, without positions where they were interleaved; `nil`
  /// where someone was there before, so that nothing was appended.
  func verdicts(_ rows: Rows) -> [Verdict]? {
    guard !rows.isNull(rows.count - 1, 0) else { return nil }
    var verdicts = [Verdict](repeating: .refusedWithGroup, count: appends.count)
    switch order {
    case .append(let order):
      var next = 0
      // Behind the positions, the ids of new streams.
      var newStream = appends.reduce(-1) { $0 + $1.events.count }
      for (index, append) in order.enumerated() {
        if startsNewStream(order, index) { newStream += 1 }
        let end = next + appends[append].events.count
        verdicts[append] = verdict(
          append, appends[append].isNew ? rows.int64(newStream, 0) : appends[append].streamID,
          (next..<end).map { Position(rows.int64($0, 0)) })
        next = end
      }
    case .event:
      for append in appends.indices { verdicts[append] = verdict(append, appends[append].streamID, []) }
    }
    return verdicts
  }

  private func verdict(_ append: Int, _ streamID: Int64, _ positions: [Position]) -> Verdict {
    .appended(streamID: streamID, firstVersion: previousVersions[append] + 1, positions: positions)
  }
}
