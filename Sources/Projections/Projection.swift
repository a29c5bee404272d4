public import EventStore
public import PostgreSQL
public import Replay

/// A read model in Swift, in the store's own database: each event is applied exactly once, because what it writes and how
/// far it is commit together.
///
/// ```swift
/// struct Totals: Projection {
///   let name = "totals"
///   let version = 1
///   let filter = LogFilter.category("account")
///
///   func createTables(in transaction: borrowing Transaction) async throws {
///     try await transaction.execute(Statement("CREATE TABLE totals (day date PRIMARY KEY, cents bigint NOT NULL)"))
///   }
///
///   func apply(_ batch: ProjectionBatch, in transaction: borrowing Transaction) async throws { … }
/// }
/// ```
///
/// Tables have names without a schema: each build of a projection has a schema of its own, which its transactions look
/// in. Readers use the views of the same names: see ``ProjectionCatalog/viewSchema``.
public protocol Projection: Sendable {
  /// 1 to 40 characters of a-z, 0-9 and `_`, starting with a letter.
  var name: String { get }
  /// From 1; raised when the tables or what is written into them change.
  var version: Int { get }
  /// The events that it is told of. Default: all.
  var filter: LogFilter { get }
  /// The rows of one stream's events depend on no other stream: then several connections may apply them. Default: false.
  var streamsAreIndependent: Bool { get }
  /// Applied in the transactions of the appends, once it is live. Needs independent streams. Default: false.
  var isInline: Bool { get }
  /// What becomes of an event for which ``apply(_:in:)`` throws. Default: stop.
  var errorPolicy: ErrorPolicy { get }

  /// Its statements, and those of ``createIndexes(in:)``, may take up to a day, unless they say otherwise.
  func createTables(in transaction: borrowing Transaction) async throws
  /// Indexes that may wait until history is in the tables. Default: none.
  func createIndexes(in transaction: borrowing Transaction) async throws

  /// Applies events, in the order of the log (of each stream, where streams are independent). The caller commits.
  ///
  /// Whatever it throws rolls back; then the batch is divided until the event is found that it throws for, and
  /// ``errorPolicy`` decides.
  func apply(_ batch: ProjectionBatch, in transaction: borrowing Transaction) async throws
}

extension Projection {
  public var filter: LogFilter { .all }
  public var streamsAreIndependent: Bool { false }
  public var isInline: Bool { false }
  public var errorPolicy: ErrorPolicy { .stop }
  public func createIndexes(in transaction: borrowing Transaction) async throws {}
}

/// A read model elsewhere: a search index, a cache, a file. At least once: how far it is is saved after
/// ``apply(_:)`` has returned, so that after a crash a batch comes again.
public protocol ExternalProjection: Sendable {
  /// 1 to 40 characters of a-z, 0-9 and `_`, starting with a letter; no other projection's.
  var name: String { get }
  /// From 1; raised when what it writes changes.
  var version: Int { get }
  /// The events that it is told of. Default: all.
  var filter: LogFilter { get }
  /// What becomes of an event for which ``apply(_:)`` throws, also because the other system is away: wait for that in
  /// there. Default: stop.
  var errorPolicy: ErrorPolicy { get }

  /// Applies events, in the order of the log. Write a rebuild beside what is live: by ``ProjectionBatch/build``.
  func apply(_ batch: ProjectionBatch) async throws
}

extension ExternalProjection {
  public var filter: LogFilter { .all }
  public var errorPolicy: ErrorPolicy { .stop }
}

/// Events to apply, in order; not none.
public struct ProjectionBatch: Sendable {
  /// By position, ascending.
  public let events: [RecordedEvent]
  /// Which build of the projection they are for: another number for each rebuild.
  public let build: Int
  /// Its upcasters raise older payloads.
  public let codec: EventCodec
  /// Whether this is the build that readers see.
  public let isLive: Bool
  /// Whether notifications and outgoing calls are wanted: not while history is replayed, unless that was asked for.
  public let sideEffects: Bool

  init(events: [RecordedEvent], build: Int, codec: EventCodec, isLive: Bool, sideEffects: Bool) {
    self.events = events
    self.build = build
    self.codec = codec
    self.isLive = isLive
    self.sideEffects = sideEffects
  }

  /// For tests: a batch as the live build gets it.
  public init(_ events: [RecordedEvent], codec: EventCodec = EventCodec()) {
    self.init(events: events, build: 0, codec: codec, isLive: true, sideEffects: true)
  }

  /// An event as one of an aggregate's, raised by the upcasters.
  ///
  /// - Throws: `CodecError`; a shredded payload is `payload(.shredded)`: then the projection decides.
  public func decode<E: AggregateEvent>(_ event: RecordedEvent, as type: E.Type) throws(CodecError) -> E {
    try codec.decode(event, as: type)
  }

  /// An event as the type that the codec knows it by.
  ///
  /// - Throws: As ``decode(_:as:)``.
  public func decode(_ event: RecordedEvent) throws(CodecError) -> any Event { try codec.decode(event) }

  /// Runs `effect` unless history is being replayed.
  public func withSideEffects(_ effect: () async throws -> Void) async rethrows {
    if sideEffects { try await effect() }
  }
}
