/// What PostgreSQL takes to aggregate plain rows of its own, with nothing to open and nobody to send them to.
struct PlainAggregation: Contestant {
  private let connection: LibpqConnection
  private let events: Int

  static func definitions(events: Int) -> String {
    """
    CREATE TABLE \(YardstickTable.schema).plain AS
    SELECT 'account-' || n % \(max(1, events / 100)) AS stream,
           jsonb_build_object('account', 'account-' || n % 1000, 'amount', n % 1000, 'balance', n, 'note',
                              repeat('x', 180)) AS data
      FROM generate_series(1, \(events)) AS n;
    CREATE TABLE \(YardstickTable.schema).balance (account text PRIMARY KEY, balance numeric NOT NULL, deposits bigint NOT NULL);
    ANALYZE \(YardstickTable.schema).plain
    """
  }

  init(_ url: String, events: Int) throws {
    connection = try LibpqConnection(url)
    self.events = events
  }

  func prepareRound() async throws { try connection.script("TRUNCATE \(YardstickTable.schema).balance") }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(1, for: duration) { [self] _, _ in
      try await Thread.run {
        try connection.script(
          """
          INSERT INTO \(YardstickTable.schema).balance
          SELECT stream, sum((data->>'amount')::numeric), count(*) FROM \(YardstickTable.schema).plain GROUP BY stream
          """)
      }
      return Tally(events: events)
    }
  }
}
