internal import PostgreSQL

/// The pages of the log up to the horizon. Ranges of positions are asked for ahead, so that the server works while
/// the consumer does.
final class LogPages: EventPageSource {
  private let log: PostgreSQLEventLog
  private let filter: LogFilter
  private let decoder: EventDecoder
  private var lease: ConnectionPool.Lease?
  private var pending: [Range] = []
  /// Up to where ranges have been asked for.
  private var asked: Int64
  /// The position of the last event that was read.
  private var lastSeen: Int64
  /// The newest connection of the process when the bound was taken.
  private var newestConnection: UInt64 = .max
  /// Everything up to here is decided; `nil` before the first page.
  private var bound: Int64?
  /// The first bound, or the last that was asked for: what is appended while all is read is not for this reader, who would
  /// else never come to an end where it appends itself.
  private var furthest: Int64?
  /// Numbers of the filter's categories; `nil` when it has none.
  private var categories: [Int64]?
  private var page: PageLimit
  private var cap = PayloadCap.usual
  /// Positions a range: more when few events of a range pass the filter.
  private var width: Int64

  private static let rangesAhead = 3

  /// Positions that were asked for.
  private struct Range {
    let start: Int64
    let end: Int64
    /// Events, at most.
    let limit: Int
    let cap: PayloadCap
    let result: PendingResult
  }

  /// Everything up to here is known to be decided: there is nothing to ask.
  private let end: Int64?

  init(_ log: PostgreSQLEventLog, after position: Position, _ filter: LogFilter, upTo end: Position? = nil) {
    self.log = log
    self.filter = filter
    self.end = end?.rawValue
    decoder = log.makeDecoder()
    asked = position.rawValue
    lastSeen = position.rawValue
    page = PageLimit(log.configuration.pageSize)
    width = Int64(page.events)
  }

  func nextPage() async throws(ReadError) -> [RecordedEvent]? {
    // Also where pages come faster than anybody waits for one.
    if Task.isCancelled { throw .cancelled }
    return try await log.reading { () throws(PostgreSQLError) in
      do throws(PostgreSQLError) {
        // Without a bound there is nothing to go on with; nor is there where another has the connection by now.
        if lease?.keep() == false { lease = nil }
        if bound == nil || (lease == nil && (!pending.isEmpty || asked < bound ?? 0)) { try await start() }
        defer { rest() }
        return try await readPage()
      } catch {
        // Or whoever asks again would be given what comes after the range that failed.
        restart()
        throw error
      }
    }
  }

  /// For a reader that goes on after the end: looks how far the log is decided now, and whether that is further.
  func extend() async throws(PostgreSQLError) -> Bool {
    furthest = nil
    try await start()
    if asked < bound ?? 0 { return true }
    lease = nil
    return false
  }

  /// The last event up to the bound: only a position that was seen is sure to be past, whatever becomes of the server.
  func settled() async throws(PostgreSQLError) -> Position {
    guard isFiltered, let bound, bound > lastSeen else { return Position(lastSeen) }
    let lease = try await log.pool.lease()
    // See `start`: the bound may be from before a crash.
    guard lease.connection.serial <= newestConnection else { return Position(lastSeen) }
    defer { withExtendedLifetime(lease) {} }
    let rows = try await lease.connection.execute(log.queries.settledPosition, Parameters(bound))
    // Of what is before it nothing need ever be looked at again.
    if !rows.isEmpty, asked == bound, pending.isEmpty { lastSeen = max(lastSeen, rows.int64(0, 0)) }
    return Position(rows.isEmpty ? lastSeen : max(lastSeen, rows.int64(0, 0)))
  }

  /// How much was read, or passed over, since the last event that is known to be there.
  var unsettled: Int64 { asked - lastSeen }

  /// Whether what kinds of events there were can tell that none is for this reader.
  var canPassOver: Bool { !filter.categories.isEmpty || (!filter.types.isEmpty && filter.typePatterns.isEmpty) }

  /// For a reader at the end, who need not ask for what others have found to be of no concern to it.
  ///
  /// - Returns: How many positions were passed over; `nil`: it has to look for itself.
  func passOver(_ looks: [LogTail.Look]) -> Int64? {
    guard asked == bound, pending.isEmpty, !isBehindProxy, let first = looks.first, let last = looks.last,
      first.start <= asked,
      asked <= last.bound
    else { return nil }
    for look in looks {
      // See `start`: a newer connection may be one to a server that has crashed.
      guard look.connection <= newestConnection else { return nil }
      if look.bound > asked, mayConcern(look) { return nil }
    }
    defer {
      asked = last.bound
      bound = last.bound
      furthest = last.bound
      newestConnection = last.newestConnection
    }
    return last.bound - asked
  }

  private func mayConcern(_ look: LogTail.Look) -> Bool {
    let isOfCategory = filter.categories.isEmpty || filter.categories.contains { look.categories.contains($0) }
    // What a pattern means, the server decides.
    let isOfType =
      filter.types.isEmpty || !filter.typePatterns.isEmpty || filter.types.contains { look.types.contains($0) }
    return isOfCategory && isOfType && look.bound > look.start
  }

  /// After a lost connection: goes on after the last event that was seen.
  func restart() {
    lease = nil
    pending = []
    bound = nil
    asked = lastSeen
  }

  /// While the consumer works, whoever waits for a connection may have this one.
  private func rest() {
    if pending.isEmpty, asked >= bound ?? 0 { lease = nil } else { lease?.offer() }
  }

  private func start() async throws(PostgreSQLError) {
    let lease = try await log.pool.lease()
    // Before the bound: a connection that is made after this may be one to a server that has crashed since.
    let newest = Connection.newestSerial
    log.sealer.prepare(for: lease.connection)
    let mayHaveCrashed = isBehindProxy || lease.connection.serial > newestConnection
    if mayHaveCrashed {
      // The server may have crashed since the bound was taken; then positions that were drawn before, and never
      // committed, are drawn again. Only a position that was seen is sure to be past. And a stream's id may be another's.
      pending = []
      asked = lastSeen
      decoder.forget()
    }
    self.lease = lease
    // The bound first; the events only in later statements, whose snapshots are younger.
    let bound: Int64
    if let end {
      bound = end
    } else {
      let horizon = try await lease.connection.execute(log.queries.horizon).int64(0, 0)
      bound = min(horizon, furthest ?? horizon)
    }
    // Categories too: one that came into being before the bound must be known to what is read up to it.
    if !filter.categories.isEmpty, categories?.count != filter.categories.count {
      categories = try await log.directory.categoryIDs(filter.categories, lease.connection)
    }
    // It may go back, but what was decided is.
    self.bound = mayHaveCrashed ? bound : max(bound, self.bound ?? 0)
    furthest = furthest ?? bound
    newestConnection = newest
  }

  /// A proxy keeps its clients' connections across a crash of the server.
  private var isBehindProxy: Bool { !log.configuration.connection.preparedStatements }

  private func readPage() async throws(PostgreSQLError) -> [RecordedEvent]? {
    while true {
      ask()
      guard let lease, !pending.isEmpty else { return nil }
      let range = pending.removeFirst()
      let rows = try await range.result.rows()
      let count = cap.came(rows, askedWith: range.cap)
      if count < rows.count || rows.count == range.limit {
        // Before the ranges behind it.
        let last = count > 0 ? rows.int64(count - 1, EventDecoder.Column.position) : range.start
        pending.insert(asked(on: lease, from: last, upTo: range.end), at: 0)
      }
      page.came(rows)
      adapt(rows.count, range)
      ask()
      guard count > 0 else { continue }
      let events = try await decoder.events(rows, first: count) { () throws(PostgreSQLError) in lease.connection }
      // Only now: a lookup on a connection that breaks must not make the reader pass over these events.
      lastSeen = rows.int64(count - 1, EventDecoder.Column.position)
      page.opened(events)
      return events
    }
  }

  private func ask() {
    guard let lease, let bound else { return }
    while pending.count < (cap.isUsual ? Self.rangesAhead : 1), asked < bound {
      let end = min(bound, asked + width)
      pending.append(asked(on: lease, from: asked, upTo: end))
      asked = end
    }
  }

  private func asked(on lease: ConnectionPool.Lease, from start: Int64, upTo end: Int64) -> Range {
    let limit = cap.limit(4 * page.events)
    return Range(
      start: start, end: end, limit: limit, cap: cap,
      result: lease.connection.send(statement, parameters(start, end, limit)))
  }

  private var isFiltered: Bool {
    !filter.categories.isEmpty || !filter.types.isEmpty || !filter.typePatterns.isEmpty || filter.shards != nil
  }

  private var statement: Statement { isFiltered ? log.queries.logRangeFiltered : log.queries.logRange }

  private func parameters(_ start: Int64, _ end: Int64, _ limit: Int) -> Parameters {
    guard isFiltered else { return Parameters(start, end, limit, cap.bytes) }
    let hasTypes = !filter.types.isEmpty || !filter.typePatterns.isEmpty
    return Parameters(
      start, end, categories.map { BinaryArray($0) }, hasTypes ? BinaryArray(filter.types) : nil,
      hasTypes ? BinaryArray(filter.typePatterns) : nil, filter.shards, limit, cap.bytes)
  }

  /// So wide that a range has a page of events, as far as the last one tells.
  private func adapt(_ rows: Int, _ range: Range) {
    let wanted = Int64(page.events)
    let positions = range.end - range.start
    if rows == range.limit {
      width = wanted
    } else {
      let fitting = rows == 0 ? .max : positions * wanted / Int64(rows)
      width = max(wanted, min(fitting, 4 * max(positions, wanted), 1_000_000))
    }
  }
}
