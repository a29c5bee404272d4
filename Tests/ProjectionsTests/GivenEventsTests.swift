import EventStore
import EventStoreTesting
import PostgreSQL
import Projections
import Replay
import TestSupport
import Testing

private enum Deposit: AggregateEvent {
  case deposited(cents: Int)
  enum CodingKeys: String, CodingKey, CaseIterable { case deposited }
}

/// Forgets to add when an account comes twice in one batch.
private struct LastOnly: Projection {
  let name = "last"
  let version = 1
  func createTables(in transaction: borrowing Transaction) async throws {
    try await transaction.execute(Statement("CREATE TABLE sums (account text PRIMARY KEY, cents bigint NOT NULL)"))
  }
  func apply(_ batch: ProjectionBatch, in transaction: borrowing Transaction) async throws {
    var amounts: [String: Int] = [:]
    for event in batch.events {
      guard case .deposited(let cents) = try batch.decode(event, as: Deposit.self) else { continue }
      amounts[event.stream.description] = cents
    }
    for (account, cents) in amounts {
      try await transaction.execute(
        Statement(
          "INSERT INTO sums AS s VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET cents = s.cents + excluded.cents"),
        Parameters(account, cents))
    }
  }
}

@Suite("Given events, when projected, then rows", .database)
struct GivenEventsTests {
  @Test("a file: its rows, whatever the sets; the database is as it was")
  func file() async throws {
    let database = try TestDatabase.required
    let projected = try await GivenEvents(
      .json("account-1", "deposited", "{\"cents\":500}"), .json("account-2", "deposited", "{\"cents\":1}"),
      .event("account-1", Deposit.deposited(cents: -200)), url: database.connectionString
    ).when(try Model.model(Model.first))
    try projected.then(
      "balance", "{\"account\":\"account-1\",\"cents\":300,\"events\":2}",
      "{\"account\":\"account-2\",\"cents\":1,\"events\":1}")
    #expect(throws: UnexpectedOutcome.self) { try projected.then("balance") }
    #expect(throws: UnexpectedOutcome.self) { try projected.then("other") }
    #expect(try await database.number("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'eventstore_test%'") == 0)
  }

  @Test("a file, and code, that depend on how events come together are found out")
  func sets() async throws {
    let database = try TestDatabase.required
    let wrong = Model.first.replacing("sum((data->>'cents')::bigint)", with: "max((data->>'cents')::bigint)")
    let given = GivenEvents(
      .json("account-1", "deposited", "{\"cents\":5}"), .json("account-1", "deposited", "{\"cents\":7}"),
      url: database.connectionString)
    await #expect(throws: UnexpectedOutcome.self) { _ = try await given.when(try Model.model(wrong)) }
    await #expect(throws: UnexpectedOutcome.self) { _ = try await given.when(LastOnly()) }
    try await GivenEvents(.json("account-1", "deposited", "{\"cents\":5}"), url: database.connectionString)
      .when(LastOnly()).then("sums", "{\"account\":\"account-1\",\"cents\":5}")
  }

  @Test("only events of its categories are its, as when it runs")
  func categories() async throws {
    let database = try TestDatabase.required
    try await GivenEvents(
      .json("account-1", "deposited", "{\"cents\":5}"), .json("order-1", "deposited", "{\"cents\":7}"),
      .json("order-1", "unheard of", "{}"), url: database.connectionString
    ).when(try Model.model(Model.first))
      .then("balance", "{\"account\":\"account-1\",\"cents\":5,\"events\":1}")
  }

  @Test("what only a function shows to be another's table is refused, as when it runs")
  func foreignTable() async throws {
    let database = try TestDatabase.required
    try await database.sql(
      """
      CREATE TABLE public.others (n bigint);
      CREATE FUNCTION public.peek() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM public.others); END';
      """)
    let model = Model.first.replacing(
      "sum((data->>'cents')::bigint)", with: "sum((data->>'cents')::bigint + public.peek())")
    let error = await #expect(throws: ReadModelError.self) {
      _ = try await GivenEvents(
        .json("account-1", "deposited", "{\"cents\":5}"), url: database.connectionString
      ).when(try Model.model(model))
    }
    #expect(error?.reason == .foreignTable)
  }

  @Test("many tests at once")
  func manyAtOnce() async throws {
    let database = try TestDatabase.required
    let given = GivenEvents(.json("account-1", "deposited", "{\"cents\":5}"), url: database.connectionString)
    try await withThrowingTaskGroup { group in
      for _ in 0..<40 {
        group.addTask {
          try await given.when(try Model.model(Model.first))
            .then("balance", "{\"account\":\"account-1\",\"cents\":5,\"events\":1}")
        }
      }
      try await group.waitForAll()
    }
  }
}
