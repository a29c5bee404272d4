public import Logging
public import PostgreSQL
public import Tracing

/// Where a store is, how its payloads are protected, and its limits.
public struct EventLogConfiguration: Sendable {
  /// Where the server is, how many connections there may be, and how long they wait.
  public var connection: ConnectionConfiguration
  /// The PostgreSQL schema that holds the store.
  public var schema: SchemaName
  /// How payloads are stored. There is no default: to store them in the clear is a decision.
  public var encryption: Encryption
  /// Of a reader without one: where it may be by the time that there is a key to open.
  package var laterKeyring: (@Sendable () -> Keyring?)?
  /// Categories whose payloads are stored, and accepted, in the clear.
  public var plaintextCategories: Set<String> = []
  /// A larger payload is refused, in bytes.
  public var maximumPayloadBytes = 16 << 20
  /// Connections that append at the same time, at most: each carries one batch. A further one is used from 48 events at
  /// once on, for each 24 of them; or where a batch is held up by a lock.
  public var appendLanes = 2
  /// How long an append is tried again while the server is away, before its caller is told.
  public var appendPatience: Duration = .seconds(10)
  /// Events a page when reading, at most; pages of large ones have fewer, so that one weighs about 16 MiB. Where few events
  /// of the log pass a filter, up to four times as many.
  public var pageSize = 1000
  /// A live subscription that gets no hint looks for new events this soon after the last one …
  public var shortestPoll: Duration = .milliseconds(5)
  /// … and less and less often, down to this.
  public var longestPoll: Duration = .milliseconds(100)
  /// How often in a row a subscription tries to reach an unavailable server.
  public var subscriptionRetries = 20
  /// Whether readers LISTEN for hints, on a connection of their own. Turn it off behind a pooling proxy in transaction
  /// mode; readers then poll.
  public var listens = true

  /// Refuses appends (``AppendError/invalid(_:)``). A reader may hold any master key, or none: events whose payload it
  /// cannot open say so, one by one.
  public var isReadOnly = false

  /// Told of lost connections and of what is tried again. Never of a payload or a key. Default: nobody.
  public var logger = Logger(label: "eventstore") { _ in SwiftLogNoOpLogHandler() }

  /// Carries trace contexts: from whoever appends into the event's metadata, and from there to handlers of consumer groups. Default:
  /// that of `InstrumentationSystem`, where one was set up.
  public var tracer: (any Tracer)?

  /// Whether payloads are sealed before they leave the process.
  public enum Encryption: Sendable {
    /// Payloads are sealed under keys that the keyring's active master key wraps.
    case sealed(Keyring)
    /// Payloads are stored as they are. In a store that was ever sealed: only those of ``plaintextCategories``, in writing
    /// and in reading; sealed ones cannot be read.
    case off
  }

  /// Nothing is connected to, or checked, until the log is opened.
  ///
  /// - Parameter connectionString: A libpq connection string, `key=value …` or `postgresql://…`.
  public init(_ connectionString: String, schema: SchemaName = "eventstore", encryption: Encryption) {
    connection = ConnectionConfiguration(connectionString)
    self.schema = schema
    self.encryption = encryption
  }
}
