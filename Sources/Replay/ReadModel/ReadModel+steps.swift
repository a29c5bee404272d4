public import EventStore
internal import PostgreSQL

/// A row that an event made, changed or removed.
public struct RowChange: Sendable, Hashable {
  /// Its name, without a schema.
  public let table: String
  /// The row as a JSON object; `nil`: there was none.
  public let before: String?
  /// The row as a JSON object; `nil`: there is none any more.
  public let after: String?
}

extension ReadModel {
  /// Folds a stream event by event, and calls `body` with each event and the rows that it changed.
  ///
  /// All rows are looked at after each event: for the history of one aggregate, not for a whole log.
  ///
  /// - Parameter first: Events of earlier versions are folded at once, and not told.
  /// - Throws: As ``withFold(of:in:workers:codec:progress:_:)``.
  public func withSteps(
    of stream: StreamName, from first: Int = 1, at moment: Moment = .latest, in log: PostgreSQLEventLog,
    codec: EventCodec = EventCodec(), _ body: (RecordedEvent, [RowChange]) async throws -> Void
  ) async throws {
    try checkCategories(of: .stream(stream, moment))
    let range = try await moment.range(of: stream, in: log)
    let session = try await ReadModelSession.open(self, log.configuration, codec)
    var rows: [ReadModelSession.Row] = []
    for try await page in log.read(stream, range).pages {
      let earlier = page.prefix { $0.version < first }
      if !earlier.isEmpty {
        try await session.apply(Array(earlier))
        rows = try await session.allRows()
      }
      for event in page.dropFirst(earlier.count) {
        try Task.checkCancellation()
        try await session.apply([event])
        let next = try await session.allRows()
        try await session.checkTables()
        try await body(event, Self.changes(from: rows, to: next))
        rows = next
      }
    }
    try await session.checkTables()
  }

  /// What differs in the rows of a stream between two of its versions.
  ///
  /// - Parameter versions: From 0, before the first event.
  /// - Throws: As ``withFold(of:in:workers:codec:progress:_:)``.
  public func changes(
    of stream: StreamName, between versions: ClosedRange<Int>, in log: PostgreSQLEventLog,
    codec: EventCodec = EventCodec()
  ) async throws -> [RowChange] {
    try checkCategories(of: .stream(stream, .latest))
    guard versions.upperBound > 0 else { return [] }
    let range = try await Moment.version(versions.upperBound).range(of: stream, in: log)
    let session = try await ReadModelSession.open(self, log.configuration, codec)
    var rows: [ReadModelSession.Row] = []
    for try await page in log.read(stream, range).pages {
      let earlier = page.prefix { $0.version <= versions.lowerBound }
      try await session.apply(Array(earlier))
      if page.last?.version ?? 0 >= versions.lowerBound, earlier.last?.version == versions.lowerBound {
        rows = try await session.allRows()
      }
      try await session.apply(Array(page.dropFirst(earlier.count)))
    }
    try await session.checkTables()
    return Self.changes(from: rows, to: try await session.allRows())
  }

  private static func changes(
    from before: [ReadModelSession.Row], to after: [ReadModelSession.Row]
  ) -> [RowChange] {
    struct Place: Hashable {
      let table: String
      let key: String
    }
    // Rows alike, in a table without a key, are counted.
    var old: [Place: [String]] = [:]
    for row in before { old[Place(table: row.table, key: row.key), default: []].append(row.json) }
    var changes: [RowChange] = []
    for row in after {
      let earlier = old[Place(table: row.table, key: row.key)]?.popLast()
      if earlier != row.json { changes.append(RowChange(table: row.table, before: earlier, after: row.json)) }
    }
    for row in before {
      guard let earlier = old[Place(table: row.table, key: row.key)]?.popLast() else { continue }
      changes.append(RowChange(table: row.table, before: earlier, after: nil))
    }
    return changes
  }
}
