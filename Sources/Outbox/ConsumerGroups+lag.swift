public import EventStore
public import FoundationEssentials
internal import PostgreSQL

/// How far a group is behind the log.
public struct GroupLag: Sendable, Hashable {
  /// Events behind its cursors, counted up to the limit that was given; those of keys that are behind, and dead letters, are
  /// not among them.
  public let events: Int
  /// How long the first of them waits, in seconds, from when the server recorded it to now by this process's clock; 0:
  /// there is none.
  public let seconds: Double
  /// The last event of the log.
  public let end: Position
}

/// A consumer, as others see it.
public struct GroupMember: Sendable, Hashable {
  /// A UUID, new each time that it joins.
  public let id: String
  /// Host and process id.
  public let process: String
  /// By the server's clock.
  public let joinedAt: Date
  /// How long its lease lasts, in seconds; below 0: it has ended.
  public let leaseSeconds: Double
  /// Its lease has not ended; nor has its connection, where it is known by one.
  public let lives: Bool
  /// Of 256.
  public let shards: Int
  /// As of its last heartbeat; all 0 where there is none yet.
  public let status: MemberStatus
}

/// What a person did to a group.
public struct GroupAction: Sendable, Hashable {
  /// By the server's clock.
  public let at: Date
  /// The database's role.
  public let by: String
  /// `update`, `delete`, `pause`, `resume`, `seek`, `redrive`, `skip`, `purge` or `replay`.
  public let action: String
  /// A JSON object.
  public let details: String
}

extension ConsumerGroups {
  /// How far a group's cursors are behind the end of the log.
  ///
  /// - Parameter limit: No more are counted: as many as this means so many or more.
  /// - Throws: `PostgreSQLError`.
  public func lag(of status: Status, countingTo limit: Int = 100_001) async throws -> GroupLag {
    let filter = status.group.filter.log
    let rows = try await log.pool.execute(
      queries.lag,
      Parameters(
        status.number, BinaryArray(filter.categories), BinaryArray(filter.types), BinaryArray(filter.typePatterns),
        Int64(limit), status.group.key.isByStream))
    let since = rows.isNull(0, 1) ? nil : rows.date(0, 1)
    return GroupLag(
      events: Int(rows.int64(0, 0)), seconds: since.map { max(0, Date.now.timeIntervalSince($0)) } ?? 0,
      end: Position(rows.int64(0, 2)))
  }

  /// Those that live, and dead ones whose shards nobody has taken yet.
  public func members(of name: String) async throws -> [GroupMember] {
    let rows = try await log.pool.execute(queries.members, Parameters(try await status(of: name).number))
    return rows.indices.map { row in
      GroupMember(
        id: rows.text(row, 0), process: rows.text(row, 1), joinedAt: rows.date(row, 2),
        leaseSeconds: Double(rows.int64(row, 3)) / 1000, lives: rows.bool(row, 4), shards: Int(rows.int32(row, 5)),
        status: rows.isNull(row, 6) ? MemberStatus() : MemberStatus(json: rows.text(row, 6)))
    }
  }

  /// What people did to a group, the last first: also to one that is gone.
  public func actions(on name: String, limit: Int = 100) async throws -> [GroupAction] {
    let rows = try await log.pool.execute(queries.audited, Parameters(name, Int64(limit)))
    return rows.indices.map { row in
      GroupAction(at: rows.date(row, 0), by: rows.text(row, 1), action: rows.text(row, 2), details: rows.text(row, 3))
    }
  }

  /// The next events that a group would get, in the order of the log: nothing is moved, and nobody is kept from them. Those of
  /// keys that are behind are not among them.
  public func peek(_ name: String, limit: Int = 10) async throws -> [RecordedEvent] {
    let status = try await status(of: name)
    var events: [RecordedEvent] = []
    for try await event in log.readAll(after: status.position, where: status.group.filter.log) {
      guard events.count < limit else { break }
      if status.group.filter.admits(event.metadata) { events.append(event) }
    }
    return events
  }
}
