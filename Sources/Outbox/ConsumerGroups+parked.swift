public import EventStore
public import FoundationEssentials
internal import PostgreSQL

/// An event that a group has given up: a dead letter. It refers to the event, which is in the log as before.
public struct ParkedEvent: Sendable, Hashable {
  /// The event's. A group has one dead letter of an event at most.
  public let position: Position
  /// What it was ordered by.
  public let key: String
  public let stream: String
  /// In its stream, from 1.
  public let version: Int
  public let type: String
  /// The event's.
  public let id: UUID
  /// What was said of it last.
  public let problem: String
  /// The same for problems of one kind: the type and the words, without numbers and names.
  public let fingerprint: String
  /// How often it was tried.
  public let attempts: Int
  /// By the server's clock.
  public let firstFailedAt: Date
  /// By the server's clock.
  public let parkedAt: Date
  /// Host and process id of the consumer that gave it up.
  public let consumer: String
  /// Later events of its key wait until someone retries or skips it.
  public let holdsKey: Bool
}

/// Dead letters of one kind.
public struct ParkedKind: Sendable, Hashable {
  /// 12 hexadecimal digits: see ``ParkedEvent/fingerprint``.
  public let fingerprint: String
  public let count: Int
  /// Different keys among them.
  public let keys: Int
  /// The events', which all have the same.
  public let type: String
  /// The last one's.
  public let problem: String
  /// When the first of them was given up, by the server's clock …
  public let firstAt: Date
  /// … and when the last one was.
  public let lastAt: Date
}

/// Which dead letters are meant.
public enum ParkedSelection: Sendable, Hashable {
  case all
  /// Those of these events. Where something is to be done with them, each must have one: else it is
  /// ``OutboxError/notParked(group:_:)``.
  case positions([Position])
  /// See ``ParkedEvent/fingerprint``.
  case fingerprint(String)
  /// See ``ParkedEvent/key``.
  case key(String)
}

extension ConsumerGroups {
  /// Dead letters, in the order of the log.
  public func parked(
    of name: String, _ selection: ParkedSelection = .all, after position: Position = .start, limit: Int = 1000
  ) async throws -> [ParkedEvent] {
    var (fingerprint, key, wanted): (String?, String?, Set<Position>?)
    switch selection {
    case .all: break
    case .positions(let positions): wanted = Set(positions)
    case .fingerprint(let value): fingerprint = value
    case .key(let value): key = value
    }
    let number = try await status(of: name).number
    if let wanted {
      // They are few: each is asked for.
      var found: [ParkedEvent] = []
      for one in wanted.sorted() where one > position {
        let rows = try await log.pool.execute(
          queries.parked, Parameters(number, one.rawValue - 1, fingerprint, key, Int64(1)))
        if !rows.isEmpty, rows.int64(0, 0) == one.rawValue { found.append(ParkedEvent(rows, 0)) }
      }
      return Array(found.prefix(limit))
    }
    let rows = try await log.pool.execute(
      queries.parked, Parameters(number, position.rawValue, fingerprint, key, Int64(limit)))
    return rows.indices.map { ParkedEvent(rows, $0) }
  }

  /// Dead letters by kind of problem, the most frequent first.
  public func kindsOfParked(of name: String) async throws -> [ParkedKind] {
    let rows = try await log.pool.execute(queries.fingerprints, Parameters(try await status(of: name).number))
    return rows.indices.map { row in
      ParkedKind(
        fingerprint: rows.text(row, 0), count: Int(rows.int64(row, 1)), keys: Int(rows.int64(row, 2)),
        type: rows.text(row, 3), problem: rows.text(row, 4), firstAt: rows.date(row, 5), lastAt: rows.date(row, 6))
    }
  }

  /// Lets dead letters be tried again: they come with their attempts counted anew, never while another event of their key is
  /// in flight. Those that hold their key come in its order.
  ///
  /// - Parameter rate: So many a second, at most: 0.001 to 10,000,000. `nil`: all at once.
  /// - Returns: How many.
  /// - Throws: ``OutboxError``: `notFound`; `notParked`, and none is tried again; `invalid`: the rate.
  @discardableResult
  public func redrive(_ name: String, _ selection: ParkedSelection, rate: Double? = nil) async throws -> Int {
    if let rate, !(0.001...1e7).contains(rate) {
      throw OutboxError.invalid("a rate of \(rate): expected 0.001 to 10000000 events a second")
    }
    return try await each(name, selection) { number, positions in
      try await log.pool.execute(queries.redrive, Parameters(number, BinaryArray(positions), rate)).int64(0, 0)
    }
  }

  /// Takes dead letters away for good. A key that one of them held goes on.
  ///
  /// - Returns: How many.
  /// - Throws: ``OutboxError``: `notFound`; `notParked`, and none is taken away.
  @discardableResult
  public func skipParked(_ name: String, _ selection: ParkedSelection) async throws -> Int {
    try await each(name, selection) { number, positions in
      try await log.pool.execute(queries.discard, Parameters(number, BinaryArray(positions), "skip")).int64(0, 0)
    }
  }

  /// Takes old dead letters away for good, but none that holds its key.
  ///
  /// - Returns: How many.
  @discardableResult
  public func purgeParked(_ name: String, parkedBefore time: Date) async throws -> Int {
    let number = try await status(of: name).number
    let rows = try await log.pool.execute(queries.oldParked, Parameters(number, time))
    let positions = rows.indices.map { rows.int64($0, 0) }
    guard !positions.isEmpty else { return 0 }
    return Int(
      try await log.pool.execute(queries.discard, Parameters(number, BinaryArray(positions), "purge")).int64(0, 0))
  }

  /// In one transaction, however many they are.
  private func each(
    _ name: String, _ selection: ParkedSelection, _ body: (Int32, [Int64]) async throws -> Int64
  ) async throws -> Int {
    let number = try await status(of: name).number
    var positions: [Int64] = []
    if case .positions(let given) = selection {
      let found = Set(try await parked(of: name, selection, limit: .max).map(\.position))
      if let missing = given.first(where: { !found.contains($0) }) { throw OutboxError.notParked(group: name, missing) }
      positions = found.map(\.rawValue).sorted()
    } else {
      while true {
        let page = try await parked(
          of: name, selection, after: positions.last.map { Position($0) } ?? .start, limit: 10_000)
        positions += page.map(\.position.rawValue)
        if page.count < 10_000 { break }
      }
    }
    guard !positions.isEmpty else { return 0 }
    return Int(try await body(number, positions))
  }
}

extension ParkedEvent {
  init(_ rows: Rows, _ row: Int) {
    position = Position(rows.int64(row, 0))
    key = CursorRules.key(of: rows.text(row, 1))
    stream = rows.text(row, 2)
    version = Int(rows.int64(row, 3))
    type = rows.text(row, 4)
    id = rows.uuid(row, 5)
    problem = rows.text(row, 6)
    fingerprint = rows.text(row, 7)
    attempts = Int(rows.int32(row, 8))
    firstFailedAt = rows.date(row, 9)
    parkedAt = rows.date(row, 10)
    consumer = rows.text(row, 11)
    holdsKey = rows.bool(row, 12)
  }
}
