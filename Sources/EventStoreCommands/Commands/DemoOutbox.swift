internal import EventStore
internal import Outbox
internal import Synchronization

/// The demo's last part: a consumer group that gets every event, of each stream in order, by three consumers; one event fails twice,
/// another always, and is retried as a dead letter.
struct DemoOutbox {
  let log: PostgreSQLEventLog
  /// What the writers know.
  let books: [StreamName: (version: Int, balance: Int)]
  let store: StoreOptions

  private static let group = "demo"

  /// What the handlers were given.
  private final class Given: Sendable {
    struct State {
      var versions: [StreamName: Int] = [:]
      var balances: [StreamName: Int] = [:]
      var handled = 0
      var failures = 0
      var outOfOrder = 0
    }
    let state = Mutex(State())
  }

  func run() async throws -> [DemoCheck] {
    let groups = ConsumerGroups(log)
    try await groups.create(
      ConsumerGroup(
        Self.group, filter: GroupFilter(categories: ["account"]),
        policy: GroupPolicy(retry: RetryPolicy(.fixed(0.05), attempts: 3))))
    let streams = books.filter { $0.value.version > 2 }.keys.sorted()
    guard let slow = streams.first, let broken = streams.last, slow != broken else { return [] }
    let given = Given()
    let mended = Atomic<Bool>(false)
    let total = books.values.reduce(0) { $0 + $1.version }
    let start = ContinuousClock.now
    let bar = store.progressBar("deliver", total: total, unit: .count("events"))
    try await consume { delivery in
      let event = delivery.event
      if event.version == 2, event.stream == slow, delivery.attempt < 3 { return fail(given) }
      if event.version == 2, event.stream == broken, !mended.load(ordering: .relaxed) { return fail(given) }
      return handle(delivery, broken, given, bar)
    }
    bar.finish()
    let rate = Int(Double(total) / (start.duration(to: .now) / .seconds(1)))
    let before = given.state.withLock { $0 }
    let parked = try await groups.parked(of: Self.group)
    mended.store(true, ordering: .relaxed)
    try await groups.redrive(Self.group, .all)
    try await consume { delivery in handle(delivery, broken, given, bar) }
    let after = given.state.withLock { $0 }
    let status = try await groups.status(of: Self.group)
    return [
      DemoCheck(
        name: "delivered to a consumer group",
        figure:
          "\(Quantity.count(before.handled)) events, \(Quantity.count(rate))/s, by 3 consumers, of each stream in order",
        isRight: before.outOfOrder == 0 && before.handled >= total - 1),
      DemoCheck(
        name: "two of them failed",
        figure: "\(before.failures) times: one went well at the third try, one became a dead letter, and well later",
        isRight: before.failures == 5 && parked.map(\.stream) == [broken.description] && status.parked == 0),
      DemoCheck(
        name: "what the handlers added up", figure: "\(books.count) balances, all as the writers know",
        isRight: books.allSatisfy { after.balances[$0.key] == $0.value.balance }),
    ]
  }

  /// By three consumers, until nothing is left.
  private func consume(_ handler: @escaping @Sendable (Delivery) async throws -> Disposition) async throws {
    var options = GroupConsumer.Options()
    options.endsWhenEmpty = true
    let consumers = (0..<3).map { _ in GroupConsumer(log, Self.group, options: options, handler: handler) }
    try await withThrowingTaskGroup { tasks in
      for consumer in consumers { tasks.addTask { try await consumer.run() } }
      try await tasks.waitForAll()
    }
  }

  private func fail(_ given: Given) -> Disposition {
    given.state.withLock { $0.failures += 1 }
    return .retry(reason: "the demo wants it so")
  }

  private func handle(
    _ delivery: Delivery, _ broken: StreamName, _ given: Given, _ bar: ProgressBar
  ) -> Disposition {
    let event = delivery.event
    // What other parts of the demo have appended is of no concern.
    guard books[event.stream] != nil else { return .skip }
    guard let cents = try? DemoRun.cents(event) else { return .park(reason: "not an event of the demo") }
    given.state.withLock { state in
      // A dead letter comes after those that did not wait for it.
      let expected = state.versions[event.stream, default: 0] + 1
      let passesDeadLetter = event.stream == broken && event.version == 3 && expected == 2
      if delivery.cause == nil, event.version != expected, !passesDeadLetter { state.outOfOrder += 1 }
      state.versions[event.stream] = max(event.version, expected - 1)
      state.balances[event.stream, default: 0] += cents
      state.handled += 1
    }
    bar.advance(by: 1)
    return .ack
  }
}
