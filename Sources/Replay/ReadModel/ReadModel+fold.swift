public import EventStore
public import FoundationEssentials
internal import Glibc
internal import PostgreSQL

/// The tables of a read model that was folded, as long as the closure runs that was given it.
public struct FoldedModel: Sendable {
  /// A row of one of the model's tables.
  public struct Row: Sendable, Hashable {
    /// Its name, without a schema.
    public let table: String
    /// The primary key, as a JSON array; of a table without one, the whole row.
    public let key: String
    /// The row as a JSON object, its columns in the table's order. Decimals are as PostgreSQL has them, digit by digit.
    public let json: String
  }

  /// How many events were read.
  public let events: Int
  let session: ReadModelSession

  /// Calls `body` with the rows of all tables, in parts: table by table, ordered by primary key.
  public func rows(_ body: ([Row]) async throws -> Void) async throws {
    try await session.rows { try await body($0.map { Row(table: $0.table, key: $0.key, json: $0.json) }) }
  }

  /// The rows of all tables, in that order, where they fit in memory.
  public func rows() async throws -> [Row] {
    var all: [Row] = []
    try await rows { all += $0 }
    return all
  }
}

/// Which events to fold.
public enum ReplayScope: Sendable, Hashable {
  /// One stream, as it was at a moment.
  case stream(StreamName, Moment)
  /// The streams of these categories, with the events that had happened by a time (or all).
  case categories([String], until: Date?)
  /// The whole log, with the events that had happened by a time (or all).
  case all(until: Date?)
}

extension ReadModel {
  /// How many events are read and applied at a time.
  fileprivate static let chunk = 10_000

  /// Folds history into the model's tables and calls `body` with them: of one stream at any version or time, of
  /// categories, or of the whole log.
  ///
  /// Everything happens in temporary tables of a transaction that is never committed; the database stays as it was.
  ///
  /// ```swift
  /// let model = try ReadModel(text, file: "balance.sql")
  /// try await model.withFold(of: .stream("account-42", .version(17)), in: log) { fold in
  ///   for row in try await fold.rows() { print(row.table, row.json) }
  /// }
  /// ```
  ///
  /// Events are opened on all cores. Where the model says that streams are independent, several connections apply them,
  /// each its own streams.
  ///
  /// - Parameters:
  ///   - workers: Connections that apply events; default: one a core, at most 16.
  ///   - codec: Its upcasters raise older payloads.
  ///   - progress: Told how many events have been read.
  /// - Throws: ``ReadModelError``; `AggregateError`: `notFound`, `versionNotReached`, `notYet`, `event`; `ReadError`;
  ///   `PostgreSQLError`.
  public func withFold<R>(
    of scope: ReplayScope, in log: PostgreSQLEventLog, workers: Int? = nil, codec: EventCodec = EventCodec(),
    progress: @Sendable (Int) -> Void = { _ in }, _ body: (FoldedModel) async throws -> R
  ) async throws -> R {
    try checkCategories(of: scope)
    let cores = min(16, max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    let count: Int
    if case .stream = scope { count = 1 } else { count = streamsAreIndependent ? max(1, workers ?? cores) : 1 }
    var sessions: [ReadModelSession] = []
    for _ in 0..<count {
      sessions.append(try await ReadModelSession.open(self, log.configuration, codec))
    }
    let events = try await Self.fold(events(of: scope, in: log), into: sessions, progress)
    for session in sessions { try await session.checkTables() }
    for other in sessions.dropFirst() { try await sessions[0].takeRows(of: other) }
    return try await body(FoldedModel(events: events, session: sessions[0]))
  }

  /// The model is told nothing of categories that are not its own.
  func checkCategories(of scope: ReplayScope) throws(ReadModelError) {
    let asked: [String] =
      switch scope {
      case .stream(let stream, _): [stream.category]
      case .categories(let categories, _): categories
      case .all: []
      }
    guard !categories.isEmpty, let other = asked.first(where: { !categories.contains($0) }) else { return }
    throw ReadModelError(
      file: file, line: nil,
      "it is of \(categories.joined(separator: ", ")) (`-- categories:`), not of \(other): fold another stream, or add it"
    )
  }

  // MARK: Reading

  private func events(
    of scope: ReplayScope, in log: PostgreSQLEventLog
  ) async throws -> (sequence: EventSequence, until: Date?) {
    switch scope {
    case .stream(let stream, let moment):
      return (log.read(stream, try await moment.range(of: stream, in: log)), nil)
    case .categories(let categories, let until):
      return (log.readAll(after: .start, where: LogFilter(categories: categories)), until)
    case .all(let until):
      return (log.readAll(after: .start, where: LogFilter(categories: categories)), until)
    }
  }

  // MARK: Applying

  /// Applies a chunk of events while the next one is read.
  private static func fold(
    _ source: (sequence: EventSequence, until: Date?), into sessions: [ReadModelSession],
    _ progress: @Sendable (Int) -> Void
  ) async throws -> Int {
    let until = source.until ?? .distantFuture
    let reader = ChunkReader(source.sequence, mostEvents: chunk) { $0.time <= until }
    var count = 0
    var step = try await reader.next()
    while case .events(let events, _) = step {
      try Task.checkCancellation()
      async let next = reader.next()
      try await apply(events, to: sessions)
      count += events.count
      progress(count)
      step = try await next
    }
    return count
  }

  private static func apply(_ events: [RecordedEvent], to sessions: [ReadModelSession]) async throws {
    guard sessions.count > 1 else { return try await sessions[0].apply(events) }
    var parts = [[RecordedEvent]](repeating: [], count: sessions.count)
    for event in events { parts[Int(UInt(bitPattern: event.stream.hashValue) % UInt(sessions.count))].append(event) }
    try await withThrowingTaskGroup { group in
      for (session, part) in zip(sessions, parts) where !part.isEmpty {
        group.addTask { try await session.apply(part) }
      }
      try await group.waitForAll()
    }
  }
}
