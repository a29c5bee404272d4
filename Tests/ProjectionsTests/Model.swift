import EventStore
import FoundationEssentials
import PostgreSQL
import Projections
import Replay
import TestSupport
import Testing

/// The read model of the tests: cents by account.
enum Model {
  static func text(
    version: Int = 1, streams: String = "independent", table: String = "cents bigint NOT NULL",
    columns: String = "", values: String = "", update: String = "", more: String = "", head: String = "",
    name: String = "balance"
  ) -> String {
    """
    -- read model: \(name)
    -- version: \(version)
    -- categories: account
    -- streams: \(streams)
    \(head)
    CREATE TABLE \(name) (account text PRIMARY KEY, \(table), events bigint NOT NULL\(columns.isEmpty ? "" : ", " + columns));
    CREATE INDEX \(name)_events ON \(name) (events);
    -- on: deposited
    INSERT INTO \(name) AS b
    SELECT stream, sum((data->>'cents')::bigint), count(*)\(values)
      FROM events
     GROUP BY stream
        ON CONFLICT (account) DO UPDATE SET cents = b.cents + excluded.cents, events = b.events + excluded.events\(update);
    \(more)
    """
  }

  static func model(_ text: String) throws -> ReadModel { try ReadModel(text, file: "balance.sql") }

  static let first = text()
  static let second = text(
    version: 2, columns: "double bigint", values: ", sum(2 * (data->>'cents')::bigint)",
    update: ", double = b.double + excluded.double")

  static func deposit(_ cents: Int) -> EventData {
    EventData(type: "deposited", payload: .json("{\"cents\":\(cents)}"))
  }

  static func stream(_ number: Int) -> StreamName {
    (try? StreamName(category: "account", id: "\(number)")) ?? "account-0"
  }
}

/// What a model should hold, kept apart from it.
struct Books: Sendable {
  var cents: [String: Int] = [:]
  var events: [String: Int] = [:]
  private var versions: [StreamName: Int] = [:]

  /// Appends events of random accounts.
  mutating func append(
    _ count: Int, accounts: Int = 20, to log: PostgreSQLEventLog, _ random: inout some RandomNumberGenerator
  ) async throws {
    for _ in 0..<count {
      let stream = Model.stream(Int.random(in: 0..<accounts, using: &random))
      let amounts = (0..<Int.random(in: 1...5, using: &random)).map { _ in Int.random(in: -500...1000, using: &random) }
      try await log.append(amounts.map(Model.deposit), to: stream, expecting: .exact(versions[stream, default: 0]))
      versions[stream, default: 0] += amounts.count
      cents[stream.description, default: 0] += amounts.reduce(0, +)
      events[stream.description, default: 0] += amounts.count
    }
  }

  var total: Int { events.values.reduce(0, +) }
  /// As ``rows(_:_:)`` shows them.
  var rows: [String] { cents.map { "\($0.key) \($0.value) \(events[$0.key] ?? 0)" }.sorted() }
}

/// The rows of a table of the model.
func rows(_ database: TestDatabase, _ table: String = "eventstore_views.balance") async throws -> [String] {
  try await database.column(
    "SELECT account || ' ' || cents || ' ' || events FROM \(table) ORDER BY account COLLATE \"C\"")
}

/// Options for tests: quick, and on several connections from the start.
func quick(_ change: (inout ProjectionRunner.Options) -> Void = { _ in }) -> ProjectionRunner.Options {
  var options = ProjectionRunner.Options()
  options.batchEvents = 50
  options.batchEventsInCode = 50
  options.loadEvents = 100
  options.connections = 3
  options.parallelFrom = 100
  options.lease = .seconds(1)
  change(&options)
  return options
}

/// Runs projections as long as `body` does.
@discardableResult
func withRunner<R>(
  _ log: PostgreSQLEventLog, _ projections: [any Projection] = [], external: [any ExternalProjection] = [],
  options: ProjectionRunner.Options = quick(), _ body: () async throws -> R
) async throws -> R {
  let runner = ProjectionRunner(log, projections, external: external, options: options)
  let running = Task { try await runner.run() }
  do {
    let result = try await body()
    running.cancel()
    try await running.value
    return result
  } catch {
    running.cancel()
    _ = await running.result
    throw error
  }
}
