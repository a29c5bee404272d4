/// All events of a store by one COPY in binary: as fast as PostgreSQL gives them in order.
struct CopyScan: Contestant {
  private let connection: LibpqConnection
  private let sql: String
  private let events: Int

  init(_ url: String, schema: String, events: Int) throws {
    connection = try LibpqConnection(url)
    sql = """
      COPY (SELECT position, stream_id, version, recorded_at, occurred_at, event_id, schema_version, type, metadata,
                   data
              FROM \(schema).events
             ORDER BY position)
        TO STDOUT (FORMAT BINARY)
      """
    self.events = events
  }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(1, for: duration) { [self] _, _ in
      let messages = try await Thread.run { try connection.copyOut(sql) }
      // The header travels apart in some releases, the trailer in all.
      guard events < messages, messages <= events + 2 else {
        throw Problem("COPY gave \(messages) messages for \(events) events")
      }
      return Tally(events: events)
    }
  }
}
