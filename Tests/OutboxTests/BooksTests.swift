import EventStore
import FoundationEssentials
import Logging
import Outbox
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("What consumers write down, and what keeps them from it", .database, .timeLimit(.minutes(15)))
struct BooksTests {
  @Test("a write whose connection is cut is not sent again as it was: the cursor begins anew, at an epoch of its own")
  func unknown() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all"))
      let epoch = "SELECT max(epoch) FROM eventstore.outbox_positions"
      let handled = Atomic<Int>(0)
      let consumer = GroupConsumer(log, "all") { _ in
        handled.add(1, ordering: .relaxed)
        return .ack
      }
      try await withConsumers([consumer]) {
        try await append(log, "a-1", "made")
        try await eventually("the first is written down") { try await groups.status(of: "all").handled == 1 }
        let before = try await database.number(epoch)
        try await database.withConnection { connection in
          try await connection.script("BEGIN")
          try await connection.script("SELECT FROM eventstore.outbox_positions FOR UPDATE")
          try await append(log, "a-1", "made")
          let waiting = """
            SELECT coalesce(max(pid), 0)::bigint FROM pg_stat_activity
             WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%outbox%'
            """
          try await eventually("a write waits") { try await database.number(waiting) > 0 }
          try await database.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
          )
          try await connection.script("COMMIT")
        }
        try await eventually("the second, too") { try await groups.status(of: "all").handled == 2 }
        #expect(try await database.number(epoch) > before)
      }
    }
  }

  @Test("nor does a handler's transaction, which has waited for it, move the cursor past what it was to say")
  func unknownInTransactions() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup("tx", policy: GroupPolicy(retry: RetryPolicy(.fixed(0.2), attempts: 100), breaker: nil)))
      let seen = Seen()
      let isMended = Atomic<Bool>(false)
      let consumer = GroupConsumer(log, "tx", transactions: .init(size: 1)) { delivery, _ in
        seen.add(delivery)
        return delivery.event.stream == "b-1" && !isMended.load(ordering: .relaxed) ? .retry(reason: "no") : .ack
      }
      let waiting = "datname = current_database() AND wait_event_type = 'Lock'"
      try await withConsumers([consumer]) {
        try await append(log, "a-1", "made")
        try await eventually("the first is written down") { try await groups.status(of: "tx").handled == 1 }
        try await database.withConnection { connection in
          try await connection.script("BEGIN")
          try await connection.script("SELECT FROM eventstore.outbox_positions FOR UPDATE")
          try await append(log, "b-1", "made")
          try await eventually("that it has failed is to be written") {
            try await database.number("SELECT count(*) FROM pg_stat_activity WHERE \(waiting)") > 0
          }
          try await append(log, "c-1", "made")
          try await eventually("the next one is handled") { seen.all.contains("c-1 1 1") }
          try await Task.sleep(for: .milliseconds(100))
          isMended.store(true, ordering: .relaxed)
          try await database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE \(waiting)")
          try await connection.script("COMMIT")
        }
        try await eventually("all of them") { try await groups.status(of: "tx").handled == 3 }
      }
    }
  }

  @Test(
    "what it cannot write down it says in its log, again and again; when it can, it does",
    arguments: ["53100", "55P03"])
  func full(_ state: String) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("all"))
      let lines = Mutex<[String]>([])
      var options = GroupConsumer.Options()
      options.logger = Logger(label: "test") { _ in Lines { line in lines.withLock { $0.append(line) } } }
      let consumer = GroupConsumer(log, "all", options: options) { _ in .ack }
      try await withConsumers([consumer]) {
        try await append(log, "a-1", "made")
        try await eventually("the first is written down") { try await groups.status(of: "all").handled == 1 }
        try await database.sql(
          """
          CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN
            RAISE EXCEPTION 'not now' USING ERRCODE = '\(state)';
          END $$;
          CREATE TRIGGER refuse BEFORE UPDATE ON eventstore.outbox_positions
            FOR EACH ROW EXECUTE FUNCTION public.refuse();
          """)
        try await append(log, "a-1", "made")
        try await eventually("it says so") {
          lines.withLock { $0.contains { $0.contains("write down") && $0.contains(state) } }
        }
        try await database.sql("DROP TRIGGER refuse ON eventstore.outbox_positions")
        try await eventually("the second, too") { try await groups.status(of: "all").handled == 2 }
      }
    }
  }
}

/// What was logged, with what belongs to it.
private struct Lines: LogHandler {
  let add: @Sendable (String) -> Void
  var metadata = Logger.Metadata()
  var logLevel = Logger.Level.trace

  init(_ add: @escaping @Sendable (String) -> Void) { self.add = add }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) { add("\(event.message) \(event.metadata ?? [:])") }
}
