internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Glibc
internal import Outbox
internal import Synchronization

struct OutboxBench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "How fast a group's events are delivered here, to a handler that does nothing.",
    discussion: """
      Makes a group of its own, lets it handle every event of the log, and removes it; the log is not touched.

      Examples:
        esctl outbox bench
        esctl outbox bench --seconds 60 --consumers 2 --json
      """)
  @OptionGroup var store: StoreOptions

  @Option(help: ArgumentHelp("Again and again for so long; at least once.", valueName: "seconds"))
  var seconds = 0.0

  @Option(help: ArgumentHelp("Consumers that share the work.", valueName: "count"))
  var consumers = 1

  @Option(help: ArgumentHelp("What must stay in order: stream, metadata:FIELD, or none.", valueName: "key"))
  var key = "stream"

  func validate() throws {
    guard (0...86_400).contains(seconds) else { throw ValidationError("--seconds: expected 0 to 86400") }
    guard (1...64).contains(consumers) else { throw ValidationError("--consumers: expected 1 to 64") }
    guard PartitionKey(key) != nil else {
      throw ValidationError("--key \(key): expected stream, none or metadata:FIELD")
    }
  }

  func run() async throws {
    try await store.withLog(.read) { log in
      let groups = ConsumerGroups(log)
      guard try await groups.logHasEvents else {
        throw CommandFailure(.notFound, "noEvents", "the log has no events: `esctl bench` or `esctl import` makes some")
      }
      let name = "bench-\(getpid())"
      try await groups.create(ConsumerGroup(name, key: PartitionKey(key) ?? .stream))
      let result: Result<Void, any Error>
      do {
        try await measure(log, groups, name)
        result = .success(())
      } catch {
        result = .failure(error)
      }
      // Also when it was interrupted.
      try await Task { try await groups.delete(name) }.value
      try result.get()
    }
  }

  private func measure(_ log: PostgreSQLEventLog, _ groups: ConsumerGroups, _ name: String) async throws {
    let output = StandardOutput()
    let end = ContinuousClock.now + .seconds(seconds)
    var options = GroupConsumer.Options()
    options.endsWhenEmpty = true
    repeat {
      let handled = Atomic<Int>(0)
      let start = ContinuousClock.now
      let consumers = (0..<consumers).map { _ in
        GroupConsumer(log, name, options: options) { _ in
          handled.add(1, ordering: .relaxed)
          return .ack
        }
      }
      try await withThrowingTaskGroup { tasks in
        for consumer in consumers { tasks.addTask { try await consumer.run() } }
        try await tasks.waitForAll()
      }
      let took = start.duration(to: .now) / .seconds(1)
      let count = handled.load(ordering: .relaxed)
      output.line(
        .object([
          ("events", .integer(count)), ("seconds", .number(took)), ("eventsPerSecond", .number(Double(count) / took)),
        ]),
        or: "\(Quantity.count(count, "event")) in \(Quantity.duration(.seconds(took))): "
          + "\(Quantity.count(Int(Double(count) / took))) events/s", json: store.json)
      output.flush()
      guard ContinuousClock.now < end, !Task.isCancelled else { return }
      try await groups.seek(name, to: .beginning)
    } while true
  }
}
