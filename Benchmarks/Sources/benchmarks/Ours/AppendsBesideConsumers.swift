import EventStore
import Outbox

/// Concurrent appends beside consumers of groups, none of which wants any of the events.
final class AppendsBesideConsumers: Contestant {
  private let log: PostgreSQLEventLog
  private let appends: Appends
  private let groups: [String]

  init(_ configuration: EventLogConfiguration, callers: Int, groups count: Int) async throws {
    log = try await PostgreSQLEventLog.open(configuration)
    appends = try await Appends(configuration, callers: callers)
    groups = (0..<count).map { "uninterested-\($0)" }
    for name in groups {
      try await ConsumerGroups(log).create(ConsumerGroup(name, filter: GroupFilter(categories: ["nothing"])))
    }
  }

  func run(for duration: Duration) async throws -> Sample {
    try await withThrowingTaskGroup(of: Void.self) { group in
      for name in groups { group.addTask { [log] in try await GroupConsumer(log, name) { _ in .ack }.run() } }
      // They join, take their shards, and pass over what was appended without them.
      try await Task.sleep(for: .seconds(2))
      let sample = try await appends.run(for: max(duration, .seconds(6)))
      group.cancelAll()
      return sample
    }
  }

  func end() async {
    await appends.end()
    await log.close()
  }
}
