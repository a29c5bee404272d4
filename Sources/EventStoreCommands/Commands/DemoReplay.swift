internal import EventStore
internal import FoundationEssentials
internal import Replay

/// The demo's aggregate.
private struct DemoAccount: Aggregate, Equatable {
  static let category = "account"

  enum Event: AggregateEvent {
    case deposited(cents: String)
    case withdrawn(cents: String)

    enum CodingKeys: String, CodingKey, CaseIterable {
      case deposited = "account.deposited"
      case withdrawn = "account.withdrawn"
    }
  }

  var balance = 0

  mutating func apply(_ event: Event) {
    switch event {
    case .deposited(let cents), .withdrawn(let cents): balance += Int(cents) ?? 0
    }
  }
}

/// The demo's second part: history, by aggregates, by snapshots and by a read model.
struct DemoReplay {
  let log: PostgreSQLEventLog
  /// What the writers know.
  let books: [StreamName: (version: Int, balance: Int)]
  let store: StoreOptions

  func run() async throws -> [DemoCheck] {
    [try await snapshots(), try await versions(), try await times(), try await wholeLog()]
  }

  /// Loads every account twice: the second time from the snapshot that the first one made.
  private func snapshots() async throws -> DemoCheck {
    let aggregates = AggregateStore(log)
    let folder = StreamFolder(log, AggregateFold<DemoAccount>(EventCodec()), snapshots: log.snapshots)
    var (right, made, mostRead) = (0, 0, 0)
    let bar = store.progressBar("aggregates", total: books.count, unit: .count("streams"))
    for (account, known) in books {
      _ = try await aggregates.load(DemoAccount.self, account.id)
      let again = try await folder.state(of: account, at: .latest)
      if again.version == known.version, again.state.balance == known.balance { right += 1 }
      if again.snapshotVersion > 0 { made += 1 }
      mostRead = max(mostRead, again.eventsRead)
      bar.advance()
    }
    bar.finish()
    return DemoCheck(
      name: "loaded as aggregates",
      figure: "\(right) of \(books.count) right, \(made) from a snapshot, none by reading more than \(mostRead) events",
      isRight: right == books.count && mostRead < 100)
  }

  /// The longest account at each of its versions, by way of its snapshot, against its events added up here.
  private func versions() async throws -> DemoCheck {
    let (account, events) = try await longest()
    let aggregates = AggregateStore(log)
    var (balance, right) = (0, 0)
    for event in events {
      balance += try DemoRun.cents(event)
      let then = try await aggregates.load(DemoAccount.self, account.id, at: .version(event.version))
      if then.state.balance == balance, then.version == event.version { right += 1 }
    }
    return DemoCheck(
      name: "replayed at every version", figure: "\(account): \(right) of \(events.count) balances right",
      isRight: right == events.count)
  }

  private func times() async throws -> DemoCheck {
    let (account, events) = try await longest()
    let aggregates = AggregateStore(log)
    let times = stride(from: 0, to: events.count, by: max(1, events.count / 20)).map { events[$0].time }
    var right = 0
    for time in times {
      let balance = try events.filter { $0.time <= time }.reduce(0) { try $0 + DemoRun.cents($1) }
      let then = try await aggregates.load(DemoAccount.self, account.id, at: .time(time))
      if then.state.balance == balance { right += 1 }
    }
    return DemoCheck(
      name: "replayed at points in time", figure: "\(account): \(right) of \(times.count) balances right",
      isRight: right == times.count)
  }

  /// The whole log folded by SQL, in temporary tables.
  private func wholeLog() async throws -> DemoCheck {
    let model = try ReadModel(SQL.`demo/balance`, file: "schema/demo/balance.sql")
    let expected = Set(
      books.map { "{\"account\":\"\($0.key)\",\"cents\":\($0.value.balance),\"version\":\($0.value.version)}" })
    let total = books.values.reduce(0) { $0 + $1.version }
    let bar = store.progressBar("fold", total: total, unit: .count("events"))
    let start = ContinuousClock.now
    let (rows, events) = try await model.withFold(
      of: .all(until: nil), in: log, progress: { bar.update(completed: $0) }
    ) { fold in (try await fold.rows().map(\.json), fold.events) }
    bar.finish()
    let rate = Int(Double(events) / (start.duration(to: .now) / .seconds(1)))
    return DemoCheck(
      name: "folded into a read model",
      figure:
        "\(Quantity.count(events)) events into \(rows.count) rows, \(Quantity.count(rate))/s, all as the writers know",
      isRight: Set(rows) == expected && rows.count == books.count && events == total)
  }

  private func longest() async throws -> (StreamName, [RecordedEvent]) {
    guard let account = books.max(by: { ($0.value.version, $1.key) < ($1.value.version, $0.key) })?.key else {
      throw CommandFailure(.failed, "demo", "nothing was written")
    }
    return (account, try await log.read(account).collect())
  }
}
