import EventStore
import Outbox
import Synchronization

/// A consumer group that handles all events of a store, with a handler that does nothing.
final class Drain: Contestant {
  private let log: PostgreSQLEventLog
  private let groups: ConsumerGroups
  private let events: Int
  private let key: PartitionKey

  init(_ configuration: EventLogConfiguration, events: Int, key: PartitionKey = .stream) async throws {
    log = try await PostgreSQLEventLog.open(configuration)
    groups = ConsumerGroups(log)
    self.events = events
    self.key = key
    if try await groups.all().contains(where: { $0.group.name == "drain" }) { try await groups.delete("drain") }
    try await groups.create(ConsumerGroup("drain", key: key))
  }

  func prepareRound() async throws { try await groups.seek("drain", to: .beginning) }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(1, for: duration) { [self] _, _ in
      let handled = Atomic<Int>(0)
      var options = GroupConsumer.Options()
      options.endsWhenEmpty = true
      try await GroupConsumer(log, "drain", options: options) { _ in
        handled.add(1, ordering: .relaxed)
        return .ack
      }.run()
      let count = handled.load(ordering: .relaxed)
      guard count == events else { throw Problem("\(count) events, not \(events)") }
      return Tally(events: count)
    }
  }

  func end() async { await log.close() }
}
