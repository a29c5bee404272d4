public import EventStore

/// Forwards a group's events elsewhere: to a broker, or to someone's HTTP endpoint.
///
/// An event is acknowledged when the other side has confirmed it, so each arrives at least once; those of one key in order, since the
/// next is sent after the one before it was confirmed. The event's id is the same each time: the other side can tell a repetition.
public protocol Relay: Sendable {
  /// Events that ``forward(_:)`` is given at a time, at most, 1 by default …
  var mostAtOnce: Int { get }
  /// … and of one key, 1 by default. More than one only where it sends them in order, and leaves off a key at the first
  /// that is not confirmed.
  var mostPerKey: Int { get }

  /// Sends events, and returns when the other side has answered.
  ///
  /// - Returns: What is to become of each, in their order: `ack` only for what was confirmed.
  /// - Throws: What went wrong with all of them; ``DeliveryFailure`` says what is to become of them.
  func forward(_ deliveries: [Delivery]) async throws -> [Disposition]
}

extension Relay {
  public var mostAtOnce: Int { 1 }
  public var mostPerKey: Int { 1 }
}

extension GroupConsumer {
  /// Gives a group's events to a relay.
  public init(_ log: PostgreSQLEventLog, _ group: String, relay: some Relay, options: Options = Options()) {
    guard relay.mostAtOnce > 1 else {
      self.init(log, group, options: options) { delivery in
        try await relay.forward([delivery]).first ?? .retry(reason: "the relay said nothing of it")
      }
      return
    }
    self.init(log, group, batches: BatchLimits(size: relay.mostAtOnce, perKey: relay.mostPerKey), options: options) {
      deliveries in
      try await relay.forward(deliveries)
    }
  }
}
