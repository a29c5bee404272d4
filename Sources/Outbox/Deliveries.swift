public import EventStore
internal import ServiceLifecycle
internal import Synchronization

/// A group's events as a sequence, for code that wants to pull them.
///
/// Each element must be answered, by ``PendingDelivery/finish(_:)``: until then its key waits. One that goes away without an answer
/// comes again. Take as many as you like before answering the first: they are of different keys. It ends at a graceful shutdown.
public struct Deliveries: AsyncSequence, Sendable {
  public typealias Element = PendingDelivery
  public typealias Failure = Never

  let member: Member

  public func makeAsyncIterator() -> Iterator { Iterator(member: member) }

  /// Each element goes to one iterator: several, of several tasks, share them.
  public struct Iterator: AsyncIteratorProtocol {
    let member: Member

    public mutating func next() async -> PendingDelivery? {
      while let started = await member.next() {
        if await member.hasExpired(started.flight.first, started) {
          started.run.finish(started.flight, .done)
          continue
        }
        if let pending = PendingDelivery(started, member) { return pending }
      }
      return nil
    }

    public mutating func next(isolation actor: isolated (any Actor)?) async -> PendingDelivery? { await next() }
  }
}

/// An event that waits for an answer.
public final class PendingDelivery: Sendable {
  public let delivery: Delivery
  private let started: Member.Started
  private let member: Member
  private let isAnswered = Atomic<Bool>(false)

  public var event: RecordedEvent { delivery.event }

  init?(_ started: Member.Started, _ member: Member) {
    guard let delivery = started.delivery(of: started.flight.first, nil) else { return nil }
    self.delivery = delivery
    self.started = started
    self.member = member
  }

  deinit {
    if !isAnswered.load(ordering: .relaxed) { started.run.finish(started.flight, .postponed(.zero)) }
  }

  /// Says what is to become of the event. Only the first answer counts.
  public func finish(_ disposition: Disposition) async {
    guard !isAnswered.exchange(true, ordering: .relaxed) else { return }
    let (entry, run) = (started.flight.first, started.run)
    run.finish(started.flight, await member.outcome(of: .success(disposition), entry, run))
  }
}

extension GroupConsumer {
  /// Gives a group's events to `body` as a sequence, as a member of the group for as long as `body` runs.
  ///
  /// ```swift
  /// try await GroupConsumer.withDeliveries(log, "mailer") { deliveries in
  ///   for await pending in deliveries {
  ///     try await mail(pending.event)
  ///     await pending.finish(.ack)
  ///   }
  /// }
  /// ```
  ///
  /// - Throws: What `body` throws; ``OutboxError``, as ``run()``.
  public static func withDeliveries<R: Sendable>(
    _ log: PostgreSQLEventLog, _ group: String, options: Options = Options(),
    _ body: @escaping @Sendable (Deliveries) async throws -> R
  ) async throws -> R {
    let result = Mutex<Result<R, any Error>?>(nil)
    let consumer = GroupConsumer(
      log, group, options: options,
      pulling: { deliveries in
        let own: Result<R, any Error>
        do { own = .success(try await body(deliveries)) } catch { own = .failure(error) }
        result.withLock { $0 = own }
      })
    try await consumer.run()
    guard let own = result.withLock({ $0 }) else { throw CancellationError() }
    return try own.get()
  }
}
