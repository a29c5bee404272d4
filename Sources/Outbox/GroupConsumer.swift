public import EventStore
internal import Glibc
public import Logging
public import PostgreSQL
public import ServiceLifecycle

/// Consumes a group's events: one of any number of members, in any number of processes, which share its work.
///
/// Each event is given to a handler at least once; events of one key in order, one at a time, across all members. What the
/// handler returned is written down within a few milliseconds: when this process dies, the events that it had, and those that
/// it had finished in the last few milliseconds, come again to another member.
///
/// ```swift
/// let consumer = GroupConsumer(log, "mailer") { delivery in
///   try await mail(delivery.event)
///   return .ack
/// }
/// try await ServiceGroup(services: [log, consumer], …).run()
/// ```
public struct GroupConsumer: Service {
  /// How a consumer works. What is too small is raised when the consumer is made: `concurrency` to 1, `window` to 16,
  /// `lease` to 0.2 seconds.
  public struct Options: Sendable {
    /// Events that are handled at a time, at most; of each key one. A handler of batches has two of them at a time, one
    /// in transactions one. Default: 8 for each processor, and 16 at least.
    public var concurrency = max(16, 8 * sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    /// Instead: between the least and the most of these, as many as are worth it, found from how long the handlers take while there
    /// is enough to do. Only of a handler of single events.
    public var automaticConcurrency: ClosedRange<Int>?
    /// Events in memory that wait or are in flight, at most: of each cursor that it owns.
    public var window = 4_000
    /// How long a consumer that hangs keeps its shards. One that has died loses them at once.
    public var lease = Duration.seconds(5)
    /// How long a shard that is to be given to another member may wait for what is in flight of it.
    public var handOverPatience = Duration.seconds(2)
    /// How long handlers may go on when the service shuts down; then they are cancelled.
    public var shutdownPatience = Duration.seconds(30)
    /// Ends when everything that was in the log when it began has been handled, given up or set aside.
    public var endsWhenEmpty = false
    /// Ends with ``OutboxError/stopped(group:_:)`` when the group has stopped, instead of waiting until it goes on.
    public var endsWhenStopped = false
    /// Told of each event that was passed over because it had waited too long; see ``GroupPolicy/expiry``.
    public var onExpiry: (@Sendable (Delivery) async -> Void)?
    /// Told of outages, lost shards and dead letters. Never of payloads.
    public var logger = Logger(label: "outbox") { _ in SwiftLogNoOpLogHandler() }

    public init() {}

    var heartbeat: Duration { min(.milliseconds(1_200), lease / 4) }
    var leaseMilliseconds: Int64 { lease.nanoseconds / 1_000_000 }
  }

  let groups: ConsumerGroups
  /// The group's name.
  public let group: String
  /// To be changed before ``run()``. What is too small is raised when the consumer is made, and not here.
  public var options: Options
  let handler: Handler

  enum Handler: Sendable {
    case each(@Sendable (Delivery) async throws -> Disposition)
    case batch(BatchLimits, @Sendable ([Delivery]) async throws -> [Disposition])
    case transaction(BatchLimits, @Sendable (Delivery, borrowing Transaction) async throws -> Disposition)
    /// Not a handler: something that pulls, and ends when it has had enough.
    case pull(@Sendable (Deliveries) async -> Void)
  }

  /// How many events make a batch.
  public struct BatchLimits: Sendable, Hashable {
    /// Events, at most.
    public var size: Int
    /// How long the first event of a batch waits for more, in seconds.
    public var window: Double
    /// Events of one key, at most. Of more than one, a handler sees the next before the one before it is acknowledged: it must
    /// leave off a key at the first event that fails.
    public var perKey: Int

    /// What is too small is raised: to 1 event, and to 0 seconds.
    public init(size: Int = 100, window: Double = 0, perKey: Int = 1) {
      self.size = max(1, size)
      self.window = max(0, window)
      self.perKey = max(1, perKey)
    }
  }

  /// Gives events to a handler one by one, many at a time.
  ///
  /// - Parameter handler: What it throws is a failed try: see ``DeliveryFailure``.
  public init(
    _ log: PostgreSQLEventLog, _ group: String, options: Options = Options(),
    handler: @escaping @Sendable (Delivery) async throws -> Disposition
  ) {
    self.init(log, group, options, .each(handler))
  }

  /// Gives events to a handler many at once: of one key in order, of different keys in any order.
  ///
  /// - Parameter handler: Returns what is to become of each, in the order of what it was given; for those that are missing: of the
  ///   rest, that they come again. When it throws, that counts for the first of each key, and the others come again. After an
  ///   event that is to come again, those of its key that follow it come again too, whatever was said of them.
  public init(
    _ log: PostgreSQLEventLog, _ group: String, batches: BatchLimits, options: Options = Options(),
    handler: @escaping @Sendable ([Delivery]) async throws -> [Disposition]
  ) {
    self.init(log, group, options, .batch(batches, handler))
  }

  /// Gives events to a handler inside a transaction that also moves the group's cursor: what the handler writes in it happens
  /// exactly once.
  ///
  /// - Parameters:
  ///   - transactions: How many events one transaction takes, at most, whatever their keys are.
  ///   - handler: For one event; the events of a transaction one after the other. When it throws, the transaction is rolled
  ///     back, and the others are given to it again.
  public init(
    _ log: PostgreSQLEventLog, _ group: String, transactions: BatchLimits, options: Options = Options(),
    handler: @escaping @Sendable (Delivery, borrowing Transaction) async throws -> Disposition
  ) {
    self.init(log, group, options, .transaction(transactions, handler))
  }

  init(
    _ log: PostgreSQLEventLog, _ group: String, options: Options,
    pulling body: @escaping @Sendable (Deliveries) async -> Void
  ) {
    self.init(log, group, options, .pull(body))
  }

  private init(_ log: PostgreSQLEventLog, _ group: String, _ options: Options, _ handler: Handler) {
    groups = ConsumerGroups(log)
    self.group = group
    self.options = options
    self.options.concurrency = max(1, options.concurrency)
    self.options.automaticConcurrency = options.automaticConcurrency.map {
      max(1, $0.lowerBound)...max(1, $0.upperBound)
    }
    self.options.window = max(16, options.window)
    self.options.lease = max(.milliseconds(200), options.lease)
    self.handler = handler
  }

  /// Runs until the service shuts down or the task is cancelled, and hands back what it holds. A shutdown lets handlers finish.
  ///
  /// - Throws: ``OutboxError``: `notFound`; `stopped` and `handlersStuck`, see there. An error of the database that is not one of
  ///   its absence.
  public func run() async throws {
    var slots: Slots?
    if case .each = handler { slots = options.automaticConcurrency.map { Slots($0) } }
    let member = Member(groups, group, options, slots)
    do {
      try await withGracefulShutdownHandler {
        try await member.work(handler)
      } onGracefulShutdown: {
        member.leave()
      }
    } catch {
      await member.giveBack()
      if error is CancellationError { return }
      throw error
    }
    await member.giveBack()
  }
}
