import EventStore
import FoundationEssentials
import PostgreSQL
import Projections
import Replay
import Synchronization
import TestSupport
import Testing

/// Events of the tests as an aggregate's.
private enum Deposit: AggregateEvent {
  case deposited(cents: Int)

  enum CodingKeys: String, CodingKey, CaseIterable { case deposited }
}

/// The read model of the tests in Swift.
private struct Balances: Projection {
  let name = "balance"
  var version = 1
  let filter = LogFilter.category("account")
  var streamsAreIndependent = true
  var errorPolicy = ErrorPolicy.stop
  var isInline = false
  /// Fails for it.
  var poison: Int?
  var indexing = Duration.zero
  let effects = Effects()

  struct Poison: Error {}

  func createTables(in transaction: borrowing Transaction) async throws {
    try await transaction.execute(
      Statement("CREATE TABLE balance (account text PRIMARY KEY, cents bigint NOT NULL, events bigint NOT NULL)"))
  }

  func createIndexes(in transaction: borrowing Transaction) async throws {
    try await transaction.execute(Statement("CREATE INDEX ON balance (cents)"))
    let seconds = Double(indexing.components.attoseconds) / 1e18
    try await transaction.execute(Statement("SELECT pg_sleep($1)"), Parameters(seconds))
  }

  private static let add = Statement(
    """
    INSERT INTO balance AS b VALUES ($1, $2, 1)
    ON CONFLICT (account) DO UPDATE SET cents = b.cents + excluded.cents, events = b.events + 1
    """)

  func apply(_ batch: ProjectionBatch, in transaction: borrowing Transaction) async throws {
    for event in batch.events {
      guard case .deposited(let cents) = try batch.decode(event, as: Deposit.self) else { continue }
      if cents == poison { throw Poison() }
      try await transaction.execute(Self.add, Parameters(event.stream.description, cents))
      await batch.withSideEffects { effects.add(event.position) }
    }
  }
}

private final class Effects: Sendable {
  private let positions = Mutex<[Position]>([])
  func add(_ position: Position) { positions.withLock { $0.append(position) } }
  var all: [Position] { positions.withLock { $0 } }
}

/// Writes elsewhere: here, into memory.
private struct Elsewhere: ExternalProjection {
  let name = "elsewhere"
  let version = 1
  let filter = LogFilter.category("account")
  let effects = Effects()
  let builds = Mutex2()

  func apply(_ batch: ProjectionBatch) async throws {
    for event in batch.events { effects.add(event.position) }
    builds.insert(batch.build)
  }

  final class Mutex2: Sendable {
    private let values = Mutex<Set<Int>>([])
    func insert(_ value: Int) { values.withLock { _ = $0.insert(value) } }
    var all: Set<Int> { values.withLock { $0 } }
  }
}

@Suite("Projections in code", .database, .timeLimit(.minutes(15)))
struct CodeTests {
  @Test("in Swift: applied once, indexed after, rebuilt, switched; side effects only where readers look")
  func inSwift() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      var random = SeededNumbers(seed: 4)
      var books = Books()
      try await books.append(200, to: log, &random)
      let catalog = ProjectionCatalog(log)
      let first = Balances()
      try await withRunner(log, [first]) {
        try await eventually("live") { try await catalog.builds().first?.role == .live }
        #expect(first.effects.all.isEmpty)
        // It begins anew as the live one.
        try await Task.sleep(for: .seconds(1))
        try await books.append(50, to: log, &random)
        try await catalog.wait(for: "balance")
        #expect(try await rows(database) == books.rows)
        #expect(!first.effects.all.isEmpty && first.effects.all == first.effects.all.sorted())
      }
      let second = Balances(version: 2)
      try await withRunner(log, [first, second]) {
        try await eventually("built by the service that has it") {
          try await catalog.builds().contains { $0.version == 2 && $0.caughtUpAt != nil }
        }
        #expect(try await catalog.compare("balance", code: [first, second]).isSame)
        try await catalog.switchOver("balance", code: [first, second])
        #expect(second.effects.all.isEmpty)
        #expect(try await rows(database) == books.rows)
      }
      #expect(try await database.number("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'balance_cents%'") == 2)
    }
  }

  @Test(
    "indexes that take longer than a role's, or this program's, other statements may are not cut off and begun again for ever",
    arguments: [true, false])
  func statementTimeout(isTheRoles: Bool) async throws {
    let database = try TestDatabase.required
    if isTheRoles {
      try await database.sql(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET statement_timeout TO 300', current_database()); END $$")
    }
    try await database.withLog({ if !isTheRoles { $0.connection.statementTimeout = .milliseconds(300) } }) { log in
      try await log.append([Model.deposit(1)], to: Model.stream(1), expecting: .noStream)
      let catalog = ProjectionCatalog(log)
      try await withRunner(log, [Balances(indexing: .milliseconds(700))]) {
        try await eventually("live") { try await catalog.builds().first?.role == .live }
      }
    }
  }

  @Test("a generic program asks for a rebuild; the service that has the code builds it")
  func asked() async throws {
    try await TestDatabase.required.withLog { log in
      let catalog = ProjectionCatalog(log)
      var random = SeededNumbers(seed: 4)
      var books = Books()
      try await books.append(50, to: log, &random)
      try await withRunner(log, [Balances()]) {
        try await eventually("live") { try await catalog.builds().first?.role == .live }
        let built = try await catalog.rebuild("balance", options: quick())
        #expect(built.role == .new && built.kind == .swift && built.applied == books.total)
        // Without the code both must come to rest by themselves.
        #expect(try await catalog.compare("balance").isSame)
        try await catalog.switchOver("balance")
        try await catalog.retire("balance")
      }
    }
  }

  @Test("an event that code throws for is found in its batch")
  func poison() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      for number in 0..<120 {
        try await log.append([Model.deposit(number)], to: Model.stream(number), expecting: .noStream)
      }
      let catalog = ProjectionCatalog(log)
      try await withRunner(log, [Balances(streamsAreIndependent: false, errorPolicy: .skip, poison: 77)]) {
        try await eventually("live") { try await catalog.builds().first?.role == .live }
      }
      #expect(try await catalog.skipped().map(\.stream) == ["account-77"])
      #expect(try await database.number("SELECT count(*) FROM eventstore_views.balance") == 119)
      let skipped = try await catalog.skipped()[0]
      await #expect(throws: ProjectionError.codeMissing(name: "balance", kind: .swift)) {
        try await catalog.retry(skipped)
      }
      try await catalog.retry(skipped, code: [Balances()])
      #expect(try await database.number("SELECT count(*) FROM eventstore_views.balance") == 120)
    }
  }

  @Test("why it stopped is written down without what was in the event")
  func noPayloadInProblems() async throws {
    try await TestDatabase.required.withLog { log in
      let catalog = ProjectionCatalog(log)
      let secret = EventData(type: "deposited", payload: .json("{\"cents\":\"secret-value\"}"))
      try await log.append([secret], to: "account-1", expecting: .noStream)
      try await withRunner(log, [Balances()]) {
        try await eventually("stopped") { try await catalog.builds().first?.failure != nil }
      }
      let failure = try #require(try await catalog.builds().first?.failure)
      #expect(failure.stream == "account-1" && !failure.problem.isEmpty && !"\(failure)".contains("secret"))
    }
  }

  @Test("elsewhere: at least once, in order, and a rebuild has a number of its own")
  func external() async throws {
    try await TestDatabase.required.withLog { log in
      var random = SeededNumbers(seed: 4)
      var books = Books()
      try await books.append(100, to: log, &random)
      let catalog = ProjectionCatalog(log)
      let projection = Elsewhere()
      try await withRunner(log, external: [projection]) {
        try await eventually("live") { try await catalog.builds().first?.role == .live }
        #expect(projection.effects.all.count == books.total)
        #expect(projection.effects.all == projection.effects.all.sorted())
        _ = try await catalog.rebuild("elsewhere", options: quick())
        #expect(projection.builds.all.count == 2)
        try await catalog.switchOver("elsewhere")
        try await catalog.retire("elsewhere")
      }
    }
  }

  @Test("names and definitions that cannot be are refused")
  func invalid() async throws {
    struct Named: Projection {
      let name: String
      var version = 1
      var isInline = false
      func createTables(in transaction: borrowing Transaction) async throws {}
      func apply(_ batch: ProjectionBatch, in transaction: borrowing Transaction) async throws {}
    }
    try await TestDatabase.required.withLog { log in
      for wrong in [
        Named(name: "Balance"), Named(name: ""), Named(name: "a", version: 0), Named(name: "a", isInline: true),
      ] {
        await #expect(throws: ProjectionError.self) {
          try await ProjectionRunner(log, [wrong], options: quick()).run()
        }
      }
    }
  }
}
