import EventStore

/// The aggregate of the sample events.
struct BenchmarkAccount: Aggregate, Equatable {
  static let category = "account"

  enum Event: AggregateEvent {
    case deposited(account: String, amount: Int, balance: Int, note: String)
    enum CodingKeys: String, CodingKey, CaseIterable { case deposited = "account.deposited" }
  }

  var total = 0
  var balance = 0
  var deposits = 0
  var note = ""

  mutating func apply(_ event: Event) {
    switch event {
    case .deposited(_, let amount, let balance, let note):
      total += amount
      self.balance = balance
      self.note = note
      deposits += 1
    }
  }
}

/// One caller that loads one long aggregate, over and over.
final class AggregateLoads: Contestant {
  private let log: PostgreSQLEventLog
  private let store: AggregateStore
  private let id: String
  private let length: Int

  init(_ configuration: EventLogConfiguration, id: String, length: Int, usesSnapshots: Bool) async throws {
    log = try await PostgreSQLEventLog.open(configuration)
    store = AggregateStore(log, usesSnapshots: usesSnapshots)
    self.id = id
    self.length = length
    if usesSnapshots { _ = try await store.load(BenchmarkAccount.self, id) }
  }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(1, for: duration) { [self] _, end in
      var tally = Tally()
      var now = Monotonic.now
      while now < end {
        let sent = Monotonic.now
        let account = try await store.load(BenchmarkAccount.self, id)
        now = Monotonic.now
        guard account.deposits == length else { throw Problem("\(account.deposits) events, not \(length)") }
        tally.latencies.append(now - sent)
        tally.events += length
      }
      return tally
    }
  }

  func end() async { await log.close() }
}

/// Concurrent appends while the background service makes snapshots of the streams that grow; or without it.
final class AppendsWithSnapshots: Contestant {
  private let log: PostgreSQLEventLog
  private let appends: Appends
  private let isServed: Bool

  init(_ configuration: EventLogConfiguration, callers: Int, isServed: Bool) async throws {
    log = try await PostgreSQLEventLog.open(configuration)
    appends = try await Appends(configuration, callers: callers)
    self.isServed = isServed
  }

  func run(for duration: Duration) async throws -> Sample {
    // The service works once a second.
    let duration = max(duration, .milliseconds(3500))
    guard isServed else { return try await appends.run(for: duration) }
    let store = AggregateStore(log, BenchmarkAccount.self)
    return try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await store.run() }
      let sample = try await appends.run(for: duration)
      group.cancelAll()
      return sample
    }
  }

  func end() async {
    await appends.end()
    await log.close()
  }
}
