/// Where the server is and how patient we are with it.
public struct ConnectionConfiguration: Sendable {
  /// A libpq connection string, `key=value …` or `postgresql://…`, with everything libpq knows: several hosts, TLS,
  /// password files, services, target_session_attrs.
  public var connectionString: String
  /// For one attempt on one host, unless the string has a connect_timeout: in whole seconds, 2 at least.
  public var connectTimeout: Duration = .seconds(5)
  /// A statement that takes longer is cancelled on the server. Coarse: to about 0.1 s.
  public var statementTimeout: Duration = .seconds(60)
  /// At most so many connections in a pool.
  public var maximumConnections = 10
  /// How long to wait for one of them to become free.
  public var poolTimeout: Duration = .seconds(30)
  /// Whether statements are prepared once a connection. Turn it off behind a pooling proxy in transaction mode that
  /// does not follow prepared statements (PgBouncer before 1.21): each statement is then parsed and planned at every
  /// call, which costs 30 to 100 µs. Nothing else on the pooled path assumes a session; LISTEN does, and is a hint
  /// only, so that behind such a proxy readers poll.
  public var preparedStatements = true
  /// Shown in pg_stat_activity.
  public var applicationName = "eventstore"

  /// Checks nothing: what libpq cannot read fails when a connection is made, with `connectFailed`.
  public init(_ connectionString: String) { self.connectionString = connectionString }
}
