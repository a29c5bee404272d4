public import EventStore
public import FoundationEssentials
public import PostgreSQL

/// Events that are to be appended later. Whoever appends them is a ``Scheduler``.
///
/// ```swift
/// let schedules = Schedules(log)
/// try await schedules.add(reminder, to: order, .at(.now.addingTimeInterval(3600)), name: "reminder-\(order)")
/// try await schedules.add(closing, to: ledger, .cron(CronExpression("0 18 L * *"), timeZone: "Europe/Prague"), name: "month-end")
/// ```
public struct Schedules: Sendable {
  let log: PostgreSQLEventLog
  let queries: ScheduleQueries

  /// Asks the server nothing yet.
  public init(_ log: PostgreSQLEventLog) {
    self.log = log
    queries = ScheduleQueries(log.configuration.schema)
  }

  /// A schedule, and how it is.
  public struct Status: Sendable, Hashable {
    public let name: String
    /// Where its events go.
    public let stream: StreamName
    public let type: String
    /// The event's id. Those of a recurring one's events are made from it and their times.
    public let eventID: UUID
    /// `nil`: once.
    public let recurrence: Timing.Recurrence?
    /// The next occurrence.
    public let dueAt: Date
    /// Tries of it that failed.
    public let attempts: Int
    /// Why the last one failed. Without payloads.
    public let problem: String?
    /// How many events were appended.
    public let occurrences: Int
    /// When the last of them was due; `nil`: there was none yet.
    public let lastAt: Date?
    /// The database's role that made it.
    public let createdBy: String
    /// By the server's clock.
    public let createdAt: Date
    /// It was due more than ten seconds ago: no scheduler runs, or none can append it.
    public let isOverdue: Bool

    init(_ rows: Rows, _ row: Int) throws {
      name = rows.text(row, 0)
      eventID = rows.uuid(row, 1)
      stream = StreamName(trusted: rows.text(row, 2))
      type = rows.text(row, 3)
      if rows.isNull(row, 5) {
        recurrence = nil
      } else {
        recurrence = Timing.Recurrence(
          try CronExpression(rows.text(row, 5)), timeZone: rows.text(row, 6),
          until: rows.isNull(row, 8) ? nil : rows.date(row, 8), missed: rows.bool(row, 7) ? .each : .one)
      }
      dueAt = rows.date(row, 9)
      attempts = Int(rows.int32(row, 10))
      problem = rows.isNull(row, 11) ? nil : rows.text(row, 11)
      occurrences = Int(rows.int64(row, 12))
      lastAt = rows.isNull(row, 13) ? nil : rows.date(row, 13)
      createdBy = rows.text(row, 14)
      createdAt = rows.date(row, 15)
      isOverdue = rows.bool(row, 16)
    }
  }

  // MARK: Making

  /// Keeps an event that is to be appended later, whatever version its stream then has. Its payload is sealed at once, under its
  /// subject's key.
  ///
  /// Doing it again with the same name, event and timing changes nothing; and once an event has been appended at its time, the
  /// same event is not appended again.
  ///
  /// - Parameters:
  ///   - event: Its metadata are given two more keys, `schedule` and `scheduledFor`, when it is appended. Its id is the appended
  ///     event's; each event of a recurring schedule has an id of its own, made from this one and the time.
  ///   - name: Default: the event's id.
  /// - Throws: ``OutboxError``: `scheduleExists`, `invalid`; ``EventStore/AppendError`` as an append.
  @discardableResult
  public func add(
    _ event: EventData, to stream: StreamName, _ timing: Timing, name: String? = nil
  ) async throws -> Status {
    try await log.withTransaction { transaction in
      try await add(event, to: stream, timing, name: name, in: transaction)
    }
  }

  /// As ``add(_:to:_:name:)``, in the caller's transaction: kept, or not, with everything else in it.
  @discardableResult
  public func add(
    _ event: EventData, to stream: StreamName, _ timing: Timing, name: String? = nil,
    in transaction: borrowing Transaction
  ) async throws -> Status {
    let name = name ?? event.id.uuidString.lowercased()
    do { try InvalidName.check(name, as: "schedule name", maximum: 512) } catch {
      throw OutboxError.invalid(error.description)
    }
    for key in [ScheduledEvent.nameKey, ScheduledEvent.timeKey] where event.metadata[key] != nil {
      throw OutboxError.invalid(
        "the metadata of a scheduled event cannot have \(key.debugDescription): it is given that")
    }
    let connection = transaction.connection
    // Another may keep one of this name at this moment, or append its event.
    for _ in 0..<10 {
      if try await create(event, stream, timing, name, on: connection) {
        return try await status(of: name, on: connection)
      }
      if let earlier = try await same(event, stream, timing, name, on: connection) { return earlier }
    }
    throw OutboxError.scheduleExists(name: name)
  }

  /// - Returns: `false`: there is one of this name.
  private func create(
    _ event: EventData, _ stream: StreamName, _ timing: Timing, _ name: String, on connection: Connection
  ) async throws -> Bool {
    let recurrence = timing.recurrence
    let (kept, key) = try await log.keep(event, for: stream, on: connection)
    var sealed = event
    sealed.metadata = kept.metadata
    let appended = ScheduledEvent(name: name, event: kept, isRecurring: recurrence != nil, dueAt: .now)
      .occurrence(of: sealed)
    guard appended.metadata.json.count <= AppendChecks.maximumMetadataBytes else {
      throw OutboxError.invalid(
        "with what is added to them, the event's metadata have \(appended.metadata.json.count) bytes; the limit is "
          + "\(AppendChecks.maximumMetadataBytes)")
    }
    var parameters = Parameters(
      name, kept.id, stream.description, kept.type, Int32(kept.schemaVersion), kept.occurredAt,
      kept.metadata.isEmpty ? nil : Bytea(kept.metadata.json), kept.subject, Bytea(kept.envelope))
    if let key {
      parameters.append(key.id)
      parameters.append(key.subject)
      parameters.append(key.masterKeyID)
      parameters.append(Bytea(key.wrapped))
    } else {
      for _ in 0..<4 { parameters.appendNull(0) }
    }
    for text in [recurrence?.expression.description, try recurrence.map { try Self.json($0) }, recurrence?.timeZone] {
      if let text { parameters.append(text) } else { parameters.appendNull(0) }
    }
    parameters.append(recurrence?.missed != .one)
    for time in [recurrence?.end, timing.time] {
      if let time { parameters.append(time) } else { parameters.appendNull(0) }
    }
    do throws(PostgreSQLError) {
      let rows = try await connection.execute(queries.create, parameters)
      if !rows.isNull(0, 0) { return rows.bool(0, 0) }
    } catch {
      guard error.sqlState == "22023" else { throw error }
      throw Self.unknownZone(recurrence?.timeZone ?? "")
    }
    throw OutboxError.invalid(
      "cron expression \((recurrence?.expression.description ?? "").debugDescription) names no time"
        + (recurrence?.end == nil ? ": there is no such date" : " before it ends"))
  }

  /// What is there already, where it is the same.
  private func same(
    _ event: EventData, _ stream: StreamName, _ timing: Timing, _ name: String, on connection: Connection
  ) async throws -> Status? {
    guard let status = try await statuses(of: name, limit: 1, on: connection).first else { return nil }
    let rows = try await connection.execute(queries.kept, Parameters(name))
    // It may have been appended in between.
    guard !rows.isEmpty else { return nil }
    guard status.stream == stream, Self.isSame(timing, status),
      case .success(let kept) = try await log.open([ScheduledEvent(rows, 0).event], on: connection)[0],
      kept.id == event.id || status.recurrence != nil, kept.type == event.type,
      kept.schemaVersion == event.schemaVersion,
      kept.payload == event.payload, kept.metadata.isSame(as: event.metadata), kept.subject == event.subject,
      kept.occurredAt?.microsecondsSince2000 == event.occurredAt?.microsecondsSince2000
    else { throw OutboxError.scheduleExists(name: name) }
    return status
  }

  /// To the microsecond, which is what the store keeps.
  private static func isSame(_ timing: Timing, _ status: Status) -> Bool {
    switch timing {
    case .at(let time):
      return status.recurrence == nil && time.microsecondsSince2000 == status.dueAt.microsecondsSince2000
    case .cron(let asked):
      guard let kept = status.recurrence else { return false }
      return asked.expression == kept.expression && asked.timeZone == kept.timeZone && asked.missed == kept.missed
        && asked.end?.microsecondsSince2000 == kept.end?.microsecondsSince2000
    }
  }

  static func json(_ recurrence: Timing.Recurrence) throws -> String {
    String(decoding: try JSONEncoder().encode(recurrence.expression.fields), as: UTF8.self)
  }

  static func unknownZone(_ name: String) -> OutboxError {
    .invalid(
      "the server does not know the time zone \(name.debugDescription): give its IANA name, such as Europe/Prague")
  }

  // MARK: Showing and cancelling

  /// By the time of their next occurrence.
  public func all(limit: Int = .max) async throws -> [Status] {
    try await log.pool.withConnection { try await statuses(of: nil, limit: limit, on: $0) }
  }

  /// - Throws: ``OutboxError/scheduleNotFound(name:)``, also when its event has been appended.
  public func status(of name: String) async throws -> Status {
    try await log.pool.withConnection { try await status(of: name, on: $0) }
  }

  private func status(of name: String, on connection: Connection) async throws -> Status {
    guard let status = try await statuses(of: name, limit: 1, on: connection).first else {
      throw OutboxError.scheduleNotFound(name: name)
    }
    return status
  }

  private func statuses(of name: String?, limit: Int, on connection: Connection) async throws -> [Status] {
    let rows = try await connection.execute(queries.all, Parameters(name, Int64(limit)))
    return try rows.indices.map { try Status(rows, $0) }
  }

  /// Nothing more is appended for it. Waits for a scheduler that is appending it at this moment.
  ///
  /// - Throws: ``OutboxError/scheduleNotFound(name:)``, also when its event has been appended.
  public func cancel(_ name: String) async throws {
    let rows = try await log.pool.execute(queries.cancel, Parameters(name))
    guard !rows.isEmpty else { throw OutboxError.scheduleNotFound(name: name) }
  }

  /// The next occurrences after a time, in order, at most `count`; less than 1 means 1.
  ///
  /// - Throws: ``OutboxError/invalid(_:)``: the server does not know the time zone.
  public func preview(_ recurrence: Timing.Recurrence, after time: Date = .now, count: Int) async throws -> [Date] {
    do {
      let rows = try await log.pool.execute(
        queries.preview, Parameters(try Self.json(recurrence), recurrence.timeZone, time, Int32(clamping: count)))
      let times = rows.indices.map { rows.date($0, 0) }
      guard let end = recurrence.end else { return times }
      return times.filter { $0 <= end }
    } catch let error as PostgreSQLError where error.sqlState == "22023" {
      throw Self.unknownZone(recurrence.timeZone)
    }
  }
}

extension Timing {
  var time: Date? {
    if case .at(let time) = self { time } else { nil }
  }
}
