public import EventStore

/// An event that a consumer group gives to a handler.
public struct Delivery: Sendable {
  public let event: RecordedEvent
  /// The group's name.
  public let group: String
  /// What it is ordered by: see ``PartitionKey``.
  public let key: String
  /// 1, 2, 3 …: how often it has been tried, this time included. A time that ended because the process died is not counted.
  public let attempt: Int
  /// Why it comes by itself, apart from the order of its key; `nil`: it comes in order.
  public let cause: Cause?
  /// Rises each time that the event's shard changes hands. What a handler writes elsewhere can be fenced with it: refuse what
  /// comes with a smaller one than was seen of the same key.
  public let epoch: Int64
  let call: TimedCall?

  /// Gives the handler more time, where the group has a time-out: from now on, in seconds.
  public func extend(by seconds: Double) { call?.extend(seconds: seconds, now: CursorRun.now) }

  /// What lets an event come by itself.
  public enum Cause: String, Sendable {
    /// It was a dead letter that someone wants to be tried again.
    case redrive
    /// Its time has come.
    case timer
    /// Someone asked for a part of the log once more.
    case replay
  }
}

/// What is to become of an event.
public enum Disposition: Sendable, Hashable {
  /// It was handled.
  case ack
  /// It is of no concern: passed over.
  case skip
  /// It failed, and is to come again: after this time, in seconds, or as the group's policy says.
  case retry(after: Double? = nil, reason: String)
  /// It comes again after this time, in seconds; this try does not count: the other side had enough for now, or is away. Many of these
  /// in a row open the breaker, as failures do.
  case throttle(after: Double, reason: String? = nil)
  /// It will never go well: make it a dead letter at once.
  case park(reason: String)
  /// Something is wrong with the consumer, not with the event: the group stops before it.
  case stop(reason: String)
}

/// An error of a handler that says what is to become of the event. Any other error means ``Disposition/retry(after:reason:)``,
/// with what its description says.
public struct DeliveryFailure: Error, Sendable, Hashable, CustomStringConvertible {
  /// Also `ack` or `skip`: the event is done, but what its handler wrote in the transaction that it was given is
  /// undone.
  public let disposition: Disposition

  public init(_ disposition: Disposition) { self.disposition = disposition }

  public var description: String { "\(disposition)" }
}
