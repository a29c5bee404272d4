public import EventStore
public import FoundationEssentials
internal import PostgreSQL

/// The consumer groups of a store: makes, changes, shows and removes them. Who consumes is a ``GroupConsumer``.
public struct ConsumerGroups: Sendable {
  let log: PostgreSQLEventLog
  let queries: OutboxQueries

  /// Asks the server nothing yet.
  public init(_ log: PostgreSQLEventLog) {
    self.log = log
    queries = OutboxQueries(log.configuration.schema)
  }

  /// A group, and how it is.
  public struct Status: Sendable, Hashable {
    let number: Int32
    /// With its policy as it is now.
    public let group: ConsumerGroup
    let revision: Int64
    /// By the server's clock.
    public let createdAt: Date
    /// By the server's clock; `nil`: it is not paused.
    public let pausedAt: Date?
    /// Why it has stopped; `nil`: it has not.
    public let failure: GroupFailure?
    /// Consumers that live.
    public let members: Int
    /// Keys that are behind because one of their events failed, or because they have very many.
    public let keysBehind: Int
    /// Of those, the ones that wait for a person.
    public let keysHeld: Int
    /// Single events that are to come again.
    public let deferred: Int
    /// Dead letters.
    public let parked: Int
    /// Events that were handled, since it began or was moved by a seek.
    public let handled: Int
    /// Every event up to here has been given out at least.
    public let position: Position

    /// Of a group that has stopped and is paused, too: `stopped`.
    public var state: State {
      if failure != nil { return .stopped }
      if pausedAt != nil { return .paused }
      return members == 0 ? .idle : .running
    }

    /// Whether it gives events out, and if not, why.
    public enum State: String, Sendable {
      /// It has a consumer.
      case running
      /// It has no consumer.
      case idle
      /// Until it is resumed.
      case paused
      /// At an event, for a reason that is not the event's.
      case stopped
    }

    init(_ rows: Rows, _ row: Int) throws {
      number = rows.int32(row, 0)
      var group = try JSONDecoder().decode(ConsumerGroup.self, from: Data(rows.bytes(row, 2)))
      group.name = rows.text(row, 1)
      self.group = group
      revision = rows.int64(row, 3)
      pausedAt = rows.isNull(row, 4) ? nil : rows.date(row, 4)
      failure =
        rows.isNull(row, 5) ? nil : try JSONDecoder().decode(GroupFailure.self, from: Data(rows.bytes(row, 5)))
      createdAt = rows.date(row, 6)
      members = Int(rows.int32(row, 7))
      keysBehind = Int(rows.int64(row, 8))
      keysHeld = Int(rows.int64(row, 9))
      deferred = Int(rows.int64(row, 10))
      parked = Int(rows.int64(row, 11))
      handled = Int(rows.int64(row, 12))
      position = Position(rows.int64(row, 13))
    }
  }

  /// All of them, by name.
  public func all() async throws -> [Status] { try await statuses(of: nil) }

  /// - Throws: ``OutboxError`` with `notFound`.
  public func status(of name: String) async throws -> Status {
    guard let status = try await statuses(of: name).first else { throw OutboxError.notFound(group: name) }
    return status
  }

  private func statuses(of name: String?) async throws -> [Status] {
    let rows = try await log.pool.execute(queries.groups, Parameters(name))
    return try rows.indices.map { try Status(rows, $0) }
  }

  // MARK: Making and changing

  /// - Throws: ``OutboxError``: `exists`, `invalid`.
  @discardableResult
  public func create(_ group: ConsumerGroup, from start: GroupStart = .beginning) async throws -> Status {
    try group.check()
    do {
      try await log.pool.execute(
        queries.create, Parameters(group.name, try Self.json(group), try await position(start)))
    } catch let error as PostgreSQLError where error.sqlState == "23505" {
      throw OutboxError.exists(group: group.name)
    }
    return try await status(of: group.name)
  }

  /// Changes a group's policy. What is under way is finished first, and goes on by the new one within a second or two.
  ///
  /// Its filter and its partition key stay as they are: what has been delivered would not be what was asked for. Its priorities can
  /// be changed only while none of its keys is behind: how far such a key is is known by lane. Then what is in flight comes again.
  ///
  /// - Throws: ``OutboxError``: `notFound`, `invalid`.
  @discardableResult
  public func update(_ name: String, _ policy: GroupPolicy) async throws -> Status {
    let status = try await status(of: name)
    var group = status.group
    group.policy = policy
    try group.check()
    let json = try Self.json(group)
    try await log.pool.withTransaction { (transaction: borrowing Transaction) in
      let rows = try await transaction.execute(queries.lockGroup, Parameters(status.number))
      guard !rows.isEmpty else { throw OutboxError.notFound(group: name) }
      let old = try JSONDecoder().decode(ConsumerGroup.self, from: Data(rows.bytes(0, 0)))
      if old.policy.priorities != policy.priorities { try await changeLanes(of: status, transaction) }
      try await transaction.execute(queries.audit, Parameters(status.number, name, "update", json))
      try await transaction.execute(queries.update, Parameters(status.number, json))
    }
    return try await self.status(of: name)
  }

  /// From here on members that know the former lanes write nothing down: see also ``Member/startRuns(_:_:)``.
  private func changeLanes(of status: Status, _ transaction: borrowing Transaction) async throws {
    try await transaction.execute(queries.fence, Parameters(status.number))
    let rows = try await transaction.execute(queries.countBehind, Parameters(status.number))
    let (behind, held) = (rows.int64(0, 0), rows.int64(0, 1))
    guard behind == 0 else {
      throw OutboxError.invalid(
        "group \(status.group.name.debugDescription): its priorities cannot be changed while keys are behind, which are \(behind) "
          + "now, \(held) of them held by a dead letter: retry or skip those, let the others catch up, and try again")
    }
  }

  /// Removes a group and everything that is known of it. Consumers that live find out within a second or two.
  public func delete(_ name: String) async throws {
    let status = try await status(of: name)
    try await change(status, "delete", "{}", queries.delete, Parameters(status.number))
  }

  /// With an entry in the audit, in one transaction.
  private func change(
    _ status: Status, _ action: String, _ details: String, _ statement: Statement, _ parameters: Parameters
  ) async throws {
    try await log.pool.withTransaction { (transaction: borrowing Transaction) in
      try await transaction.execute(
        queries.audit, Parameters(status.number, status.group.name, action, details))
      try await transaction.execute(statement, parameters)
    }
  }

  private static func json(_ group: ConsumerGroup) throws -> String {
    String(decoding: try JSONEncoder().encode(group), as: UTF8.self)
  }

  private func position(_ start: GroupStart) async throws -> Int64 {
    switch start {
    case .beginning: return 0
    case .end: return try await log.pool.execute(queries.end).int64(0, 0)
    case .after(let position):
      let end = try await end()
      guard position.rawValue <= end else {
        throw OutboxError.invalid("position \(position) is beyond the end of the log, which is at \(end)")
      }
      return position.rawValue
    case .since(let time):
      // The end first: what is still to be committed before it must not be passed over.
      let end = try await end()
      let rows = try await log.pool.execute(queries.positionAt, Parameters(time))
      return rows.isNull(0, 0) ? end : min(end, rows.int64(0, 0))
    }
  }

  // MARK: Operating

  /// Lets nothing more start, in any consumer, within a second or two. What is in flight is finished.
  public func pause(_ name: String) async throws {
    let status = try await status(of: name)
    try await change(status, "pause", "{}", queries.setPaused, Parameters(status.number))
  }

  /// Lets a group that is paused or has stopped go on.
  public func resume(_ name: String) async throws {
    let status = try await status(of: name)
    try await change(status, "resume", "{}", queries.resume, Parameters(status.number))
  }

  /// Lets a group go on elsewhere in the log. Its consumers let go of what they have, whatever becomes of it, and begin there.
  /// What was to come again is forgotten; dead letters stay.
  ///
  /// - Returns: Where it is now.
  @discardableResult
  public func seek(_ name: String, to start: GroupStart) async throws -> Position {
    let status = try await status(of: name)
    let position = try await position(start)
    try await change(
      status, "seek", "{\"from\":\(status.position),\"to\":\(position)}", queries.seek,
      Parameters(status.number, position))
    return Position(position)
  }

  /// The first event in the log that a group's filter lets pass, as far as the server can tell; `nil`: there is none yet.
  package func firstEvent(of group: ConsumerGroup) async throws -> RecordedEvent? {
    for try await event in log.readAll(after: .start, where: group.filter.log) { return event }
    return nil
  }

  package var logHasEvents: Bool { get async throws { try await end() > 0 } }

  // MARK: For consumers

  /// Where the log ends now.
  func end() async throws -> Int64 { try await log.pool.execute(queries.end).int64(0, 0) }

  /// Whether everything up to a position has been handled, given up or set aside until a person decides.
  func isEmpty(upTo end: Int64, _ name: String) async throws -> Bool {
    let rows = try await log.pool.execute(queries.isEmpty, Parameters(name, end))
    return rows.isEmpty ? true : rows.bool(0, 0)
  }
}
