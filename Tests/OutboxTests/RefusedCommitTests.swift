import EventStore
import FoundationEssentials
import Outbox
import PostgreSQL
import TestSupport
import Testing

@Suite("Handlers in transactions that the server refuses at their end", .database, .timeLimit(.minutes(15)))
struct RefusedCommitTests {
  /// Handlers write the position of their event to `effects`; of the third event of `a-2` that may not be.
  private func handle(_ size: Int, _ tables: String) async throws {
    let database = try TestDatabase.required
    try await database.sql(tables)
    try await database.withLog { log in
      for stream in 0..<4 {
        try await append(log, try StreamName("a-\(stream)"), "made", "made", "made", "made", "made", "made")
      }
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup("tx", policy: GroupPolicy(retry: RetryPolicy(.fixed(0.01), attempts: 2), breaker: nil)))
      let insert = Statement("INSERT INTO effects VALUES ($1::text::bigint, $2)")
      let consumer = GroupConsumer(log, "tx", transactions: .init(size: size)) { delivery, transaction in
        let event = delivery.event
        let isBad = event.stream == "a-2" && event.version == 3
        try await transaction.execute(insert, Parameters(event.position.description, Int64(isBad ? 2 : 1)))
        return .ack
      }
      try await withConsumers([consumer]) {
        try await eventually("one is given up, the others are handled") {
          try await groups.status(of: "tx").handled == 24
        }
      }
      let parked = try await groups.parked(of: "tx")
      #expect(parked.map { "\($0.stream) \($0.version) \($0.attempts)" } == ["a-2 3 2"])
      #expect(parked.first?.problem.contains("23503") == true)
      #expect(try await database.number("SELECT count(*) FROM effects") == 23)
      #expect(try await database.number("SELECT count(DISTINCT position) FROM effects") == 23)
    }
  }

  @Test("by a constraint that is deferred: who breaks it has failed, and nobody else", arguments: [1, 10])
  func deferredConstraint(_ size: Int) async throws {
    try await handle(
      size,
      """
      CREATE TABLE allowed (number bigint PRIMARY KEY);
      INSERT INTO allowed VALUES (1);
      CREATE TABLE effects (
        position bigint,
        number   bigint REFERENCES allowed DEFERRABLE INITIALLY DEFERRED
      );
      """)
  }

  @Test("by what shows in COMMIT only: likewise", arguments: [1, 10])
  func commit(_ size: Int) async throws {
    try await handle(
      size,
      """
      CREATE TABLE allowed (number bigint PRIMARY KEY);
      INSERT INTO allowed VALUES (1);
      CREATE TABLE effects (position bigint, number bigint);
      CREATE TABLE late (number bigint REFERENCES allowed DEFERRABLE INITIALLY DEFERRED);
      CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        SET CONSTRAINTS ALL DEFERRED;
        INSERT INTO late VALUES (NEW.number);
        RETURN NULL;
      END $$;
      CREATE CONSTRAINT TRIGGER later AFTER INSERT ON effects DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION later();
      """)
  }
}
