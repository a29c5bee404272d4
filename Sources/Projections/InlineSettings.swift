internal import PostgreSQL
internal import Replay

/// What the SQL of inline projections runs with, in a transaction that is another's: set before it, put back after it.
struct InlineSettings: Sendable {
  /// A table that is locked holds up the append, and with it every reader of the log: it gives way and tries again.
  static let lockTimeout = Duration.seconds(2)

  private let names: [String]
  private let values: [String]

  /// (Warnings come to the client: that COMMIT gave up its wait for a standby is one.)
  ///
  /// - Parameter patience: How long an append may take in all: so long a statement of it may.
  init(patience: Duration) {
    let settings =
      ModelStatements.deterministic + [
        ("jit", "off"), ("lock_timeout", Self.milliseconds(Self.lockTimeout)),
        ("statement_timeout", Self.milliseconds(patience)), ("client_min_messages", "warning"),
        ("log_parameter_max_length_on_error", "0"),
      ]
    names = settings.map(\.0) + Self.privileged.map(\.0)
    values = settings.map(\.1) + Self.privileged.map(\.1)
  }

  /// Opened payloads, which errors and slow statements may quote, are not for the server's log. Not every role may say so:
  /// see docs/threat-model.md.
  private static let privileged = [
    ("log_parameter_max_length", "0"), ("log_min_messages", "panic"), ("log_min_error_statement", "panic"),
  ]

  private static func milliseconds(_ duration: Duration) -> String {
    "\(Int(max(1, min(duration / .milliseconds(1), Double(Int32.max)))))"
  }

  private static let setting = Statement(
    """
    SELECT set_config(s.name, s.value, true)
      FROM unnest($1::text[], $2::text[]) AS s (name, value)
     WHERE CASE
             -- Who is less patient stays so. 0 is for ever.
             WHEN s.name IN ('lock_timeout', 'statement_timeout') THEN
               current_setting(s.name)::interval
                 NOT BETWEEN interval '1 microsecond' AND s.value::integer * interval '1 millisecond'
             WHEN s.name = ANY ($3::text[]) THEN has_parameter_privilege(s.name, 'SET')
             ELSE true
           END
    """)

  /// Until the transaction ends, or the caller's are put back.
  ///
  /// - Parameter schema: Where tables are found by their names.
  func set(schema: String, on connection: Connection) async throws(PostgreSQLError) {
    try await connection.execute(
      Self.setting,
      Parameters(
        BinaryArray(names + ["search_path"]), BinaryArray(values + ["\(Statement.quoted(schema)), pg_temp"]),
        BinaryArray(Self.privileged.map(\.0))))
  }

  // MARK: The caller's

  /// What a transaction had before.
  struct Own {
    fileprivate let values: [String]
  }

  /// Also whether what follows in the transaction counts as applied.
  private var ownNames: BinaryArray { BinaryArray(names + ["search_path", "eventstore.inline"]) }

  private static let own = Statement(
    """
    SELECT array_agg(coalesce(current_setting(s.name, true), '') ORDER BY s.place)
      FROM unnest($1::text[]) WITH ORDINALITY AS s (name, place)
    """)
  private static let puttingBack = Statement(
    """
    SELECT set_config(s.name, s.value, true)
      FROM unnest($1::text[], $2::text[]) AS s (name, value)
     WHERE s.value IS DISTINCT FROM current_setting(s.name, true)
    """)

  func own(on connection: Connection) async throws(PostgreSQLError) -> Own {
    Own(values: try await connection.execute(Self.own, Parameters(ownNames)).textArray(0, 0))
  }

  func putBack(_ own: Own, on connection: Connection) async throws(PostgreSQLError) {
    try await connection.execute(Self.puttingBack, Parameters(ownNames, BinaryArray(own.values)))
  }
}
