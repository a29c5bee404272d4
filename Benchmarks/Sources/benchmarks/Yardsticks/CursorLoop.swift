/// The least that a durable queue over the log can do: one statement that moves a cursor behind the last batch and reads the
/// next. Nothing is opened, no order is kept but the log's, and nobody else may take part.
struct CursorLoop: Contestant {
  private let connection: LibpqConnection
  private let batch: Int
  private let events: Int

  static let definitions = """
    CREATE TABLE \(YardstickTable.schema).cursor (position bigint NOT NULL) WITH (fillfactor = 50);
    INSERT INTO \(YardstickTable.schema).cursor VALUES (0)
    """

  init(_ url: String, schema: String, batch: Int, events: Int) throws {
    connection = try LibpqConnection(url)
    self.batch = batch
    self.events = events
    try connection.prepare(
      "next",
      """
      WITH moved AS (UPDATE \(YardstickTable.schema).cursor SET position = $1)
      SELECT position, stream_id, version, recorded_at, occurred_at, event_id, schema_version, type, metadata, data
        FROM \(schema).events
       WHERE position > $1
       ORDER BY position
       LIMIT \(batch)
      """)
  }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(1, for: duration) { [self] _, _ in
      try await Thread.run {
        let parameters = BinaryParameters(count: 1)
        var (position, count): (Int64, Int) = (0, 0)
        while true {
          parameters.set(0, position)
          let (rows, last) = try connection.executeToLast("next", parameters)
          guard rows > 0 else { break }
          count += rows
          position = last
        }
        guard count == events else { throw Problem("\(count) events, not \(events)") }
        return Tally(events: count)
      }
    }
  }
}

/// The usual queue in a table: lease a batch with SKIP LOCKED, then delete it. One consumer, in plain libpq.
struct SkipLockedQueue: Contestant {
  private let connection: LibpqConnection
  private let batch: Int
  private let events: Int

  static let definitions = """
    CREATE TABLE \(YardstickTable.schema).queue (
      id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, leased_until timestamptz, stream_id bigint NOT NULL,
      version bigint NOT NULL, data bytea NOT NULL
    )
    """

  init(_ url: String, batch: Int, events: Int) throws {
    connection = try LibpqConnection(url)
    self.batch = batch
    self.events = events
    try connection.prepare(
      "lease",
      """
      UPDATE \(YardstickTable.schema).queue q
         SET leased_until = clock_timestamp() + interval '30 seconds'
       WHERE id IN (SELECT id FROM \(YardstickTable.schema).queue
                     WHERE leased_until IS NULL ORDER BY id LIMIT \(batch) FOR UPDATE SKIP LOCKED)
      RETURNING id, stream_id, version, data
      """)
    try connection.prepare(
      "delete", "DELETE FROM \(YardstickTable.schema).queue WHERE id > $1 AND id <= $2 AND leased_until IS NOT NULL")
  }

  func prepareRound() async throws {
    try connection.script(
      """
      TRUNCATE \(YardstickTable.schema).queue RESTART IDENTITY;
      INSERT INTO \(YardstickTable.schema).queue (stream_id, version, data)
      SELECT n % 10000, n / 10000 + 1, decode(repeat('ab', 300), 'hex') FROM generate_series(1, \(events)) n;
      ANALYZE \(YardstickTable.schema).queue;
      CHECKPOINT
      """)
  }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(1, for: duration) { [self] _, end in
      try await Thread.run {
        let (none, range) = (BinaryParameters(count: 0), BinaryParameters(count: 2))
        var (last, count): (Int64, Int) = (0, 0)
        while Monotonic.now < end {
          let (rows, _) = try connection.executeToLast("lease", none)
          guard rows > 0 else { break }
          range.set(0, last)
          range.set(1, last + Int64(rows))
          guard try connection.execute("delete", range) == rows else { throw Problem("the queue lost its order") }
          last += Int64(rows)
          count += rows
        }
        return Tally(events: count)
      }
    }
  }
}
