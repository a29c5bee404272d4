import EventStore
import FoundationEssentials
import Outbox
import Synchronization

/// Appends at a fixed rate to a thousand streams, and measures how long after the instant at which it was to be appended each
/// event reaches the handler of a consumer with connections of its own.
final class DeliveryLag: Contestant {
  private let writer: PostgreSQLEventLog
  private let reader: PostgreSQLEventLog
  private let rate: Int
  private let sees: Sees
  private let due = Mutex<[String: UInt64]>([:])
  private let latencies = Mutex<[UInt64]>([])

  enum Sees { case handler, subscription }

  init(_ configuration: EventLogConfiguration, rate: Int, sees: Sees) async throws {
    writer = try await PostgreSQLEventLog.open(configuration)
    reader = try await PostgreSQLEventLog.open(configuration)
    self.rate = rate
    self.sees = sees
    try await ConsumerGroups(reader).create(ConsumerGroup("lag"), from: .end)
  }

  func run(for duration: Duration) async throws -> Sample {
    let duration = max(duration, .seconds(5))
    latencies.withLock { $0 = [] }
    let consumer = Task {
      switch sees {
      case .handler:
        try await GroupConsumer(reader, "lag") { [self] delivery in
          seen(delivery.event)
          return .ack
        }.run()
      case .subscription:
        let end = try await reader.readAll().collect().last?.position ?? .start
        for try await event in reader.subscribe(after: end) { seen(event) }
      }
    }
    try await Task.sleep(for: .milliseconds(1500))
    let start = Monotonic.now
    try await append(until: start + duration.nanoseconds)
    try await Task.sleep(for: .milliseconds(500))
    consumer.cancel()
    _ = await consumer.result
    let all = latencies.withLock { $0 }
    return Sample([Tally(events: all.count, latencies: all)], seconds: Double(Monotonic.now - start) / 1e9)
  }

  private func seen(_ event: RecordedEvent) {
    let now = Monotonic.now
    guard let instant = due.withLock({ $0.removeValue(forKey: event.id.uuidString) }) else { return }
    latencies.withLock { $0.append(now > instant ? now - instant : 0) }
  }

  /// Each append has its instant, whether or not the one before it has returned.
  private func append(until end: UInt64) async throws {
    let step = UInt64(1_000_000_000 / rate)
    try await withThrowingTaskGroup(of: Void.self) { group in
      var instant = Monotonic.now
      var number = 0
      while instant < end {
        let now = Monotonic.now
        if now < instant { try await Task.sleep(for: .nanoseconds(instant - now)) }
        while instant <= Monotonic.now {
          let event = SamplePayloads.event(number)
          due.withLock { $0[event.id.uuidString] = instant }
          let stream = try StreamName(category: "account", id: "lag-\(number % 1000)")
          group.addTask { [self] in _ = try await writer.append([event], to: stream, expecting: .any) }
          number += 1
          instant += step
        }
      }
      try await group.waitForAll()
    }
  }

  func end() async {
    await writer.close()
    await reader.close()
  }
}
