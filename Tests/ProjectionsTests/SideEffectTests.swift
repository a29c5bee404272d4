import EventStore
import PostgreSQL
import Replay
import Synchronization
import TestSupport
import Testing

@testable import Projections

private final class Notified: Sendable {
  private let streams = Mutex<[String]>([])
  func add(_ stream: String) { streams.withLock { $0.append(stream) } }
  var all: [String] { streams.withLock { $0 } }
}

private struct Counts: Projection {
  let name = "counts"
  var version = 1
  let streamsAreIndependent = true
  var isInline = true
  var errorPolicy = ErrorPolicy.stop
  var poison: StreamName?
  let notified = Notified()

  struct Poison: Error {}

  func createTables(in transaction: borrowing Transaction) async throws {
    try await transaction.execute(Statement("CREATE TABLE counts (stream text PRIMARY KEY, n bigint NOT NULL)"))
  }

  private static let add = Statement(
    "INSERT INTO counts AS c VALUES ($1, 1) ON CONFLICT (stream) DO UPDATE SET n = c.n + 1")

  func apply(_ batch: ProjectionBatch, in transaction: borrowing Transaction) async throws {
    for event in batch.events {
      if event.stream == poison { throw Poison() }
      try await transaction.execute(Self.add, Parameters(event.stream.description))
      await batch.withSideEffects { notified.add(event.stream.description) }
    }
  }
}

@Suite("Side effects", .database, .timeLimit(.minutes(15)))
struct SideEffectTests {
  @Test("what the live build is given where it goes back into the appends has them")
  func engaged() async throws {
    try await TestDatabase.required.withLog { log in
      let catalog = ProjectionCatalog(log)
      let counts = Counts()
      try await withRunner(log, [counts]) {
        try await eventually("engaged") { try await catalog.builds().first?.state == .inline }
      }
      try await catalog.pause("counts")
      try await catalog.resume("counts")
      try await log.append([Model.deposit(1)], to: "account-1", expecting: .noStream)
      let isEngaged = try await catalog.engage(catalog.build(of: "counts", as: .live), .swift(counts)) {}
      #expect(isEngaged)
      #expect(counts.notified.all == ["account-1"])
    }
  }

  @Test("what a switch applies that the build before has not has them once; what it has, not again")
  func switched() async throws {
    try await TestDatabase.required.withLog { log in
      let catalog = ProjectionCatalog(log)
      let (first, second) = (Counts(), Counts(version: 2))
      try await log.append([Model.deposit(1)], to: "account-0", expecting: .noStream)
      try await withRunner(log, [first]) {
        try await eventually("engaged") { try await catalog.builds().first?.state == .inline }
      }
      var options = quick()
      options.newVersionsGoLive = false
      try await withRunner(log, [second], options: options) {
        try await eventually("built") {
          try await catalog.builds().contains { $0.version == 2 && $0.caughtUpAt != nil }
        }
      }
      try await InlineLog(log, [first]).append([Model.deposit(1)], to: "account-1", expecting: .noStream)
      try await catalog.pause("counts")
      try await catalog.resume("counts")
      try await log.append([Model.deposit(1)], to: "account-2", expecting: .noStream)
      try await catalog.switchOver("counts", code: [first, second])
      #expect(first.notified.all == ["account-1"])
      #expect(second.notified.all == ["account-2"])
      #expect(try await TestDatabase.required.number("SELECT count(*) FROM eventstore_views.counts") == 3)
    }
  }

  @Test("an event that was skipped has them when it is retried in the live build")
  func retried() async throws {
    try await TestDatabase.required.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await withRunner(log, [Counts(isInline: false, errorPolicy: .skip, poison: "account-1")]) {
        try await eventually("live") { try await catalog.builds().first?.role == .live }
        try await log.append([Model.deposit(1)], to: "account-1", expecting: .noStream)
        try await catalog.wait(for: "counts")
      }
      let mended = Counts(isInline: false)
      try await catalog.retry(try #require(try await catalog.skipped().first), code: [mended])
      #expect(mended.notified.all == ["account-1"])
    }
  }
}
