import EventStore
import FoundationEssentials
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Readers of a busy log that has little for them", .database, .timeLimit(.minutes(15)))
struct LogTailTests {
  private final class Seen: Sendable {
    private let ids = Mutex<[UUID]>([])
    var all: [UUID] { ids.withLock { $0 } }
    func add(_ id: UUID) { ids.withLock { $0.append(id) } }
  }

  private func event(_ type: String) -> EventData { EventData(type: type, payload: .json("{}")) }

  @Test("find all that comes for them, in order, whatever it is that they wait for", arguments: [false, true])
  func rare(cut: Bool) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let filters = [
        LogFilter(categories: ["rare"]), LogFilter(types: ["rare.happened"]),
        LogFilter(categories: ["often", "rare"], types: ["rare.happened"]), LogFilter(categories: ["later"]),
        LogFilter(categories: ["never"]),
      ]
      let seen = filters.map { _ in Seen() }
      let readers = zip(filters, seen).map { filter, seen in
        Task {
          // From another log of the same process: it has only its own connections, and the server's hints.
          try await database.withLog({ $0.subscriptionRetries = 200 }) { other in
            for try await event in other.subscribe(after: .start, where: filter) { seen.add(event.id) }
          }
        }
      }
      let own = Task {
        for try await event in log.subscribe(after: .start, where: filters[0]) { seen[4].add(event.id) }
      }
      let writers = (0..<3).map { writer in
        Task {
          let stream = try StreamName("often-\(writer)")
          while !Task.isCancelled { _ = try await log.append([event("often.happened")], to: stream, expecting: .any) }
        }
      }
      var expected: [[UUID]] = [[], [], [], []]
      for number in 0..<60 {
        try await Task.sleep(for: .milliseconds(20))
        if cut, number % 20 == 10 {
          try await database.sql(
            """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()
            """)
        }
        let (rare, typed) = (event("common"), event("rare.happened"))
        _ = try await log.append([rare], to: "rare-1", expecting: .any)
        _ = try await log.append([typed], to: "often-7", expecting: .any)
        expected[0].append(rare.id)
        expected[1].append(typed.id)
        expected[2].append(typed.id)
        // A category that nobody has heard of until now.
        if number > 40 {
          let late = event("common")
          _ = try await log.append([late], to: "later-1", expecting: .any)
          expected[3].append(late.id)
        }
      }
      for writer in writers { writer.cancel() }
      for writer in writers { _ = await writer.result }
      for _ in 0..<1_000 {
        if (0..<4).allSatisfy({ seen[$0].all.count >= expected[$0].count }), seen[4].all.count >= expected[0].count {
          break
        }
        try await Task.sleep(for: .milliseconds(10))
      }
      for reader in readers { reader.cancel() }
      own.cancel()
      for reader in readers { _ = await reader.result }
      _ = await own.result
      for index in 0..<4 { #expect(seen[index].all == expected[index], "\(filters[index])") }
      // The one in the log of the writers.
      #expect(seen[4].all == expected[0])
    }
  }

  @Test(
    "what follows an announcement of another process too soon to be announced itself is found without a further one")
  func afterAnAnnouncement() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let seen = Seen()
      let reader = Task {
        // It does not look by itself, but for what it was told.
        try await database.withLog({
          $0.shortestPoll = .seconds(600)
          $0.longestPoll = .seconds(600)
        }) { other in
          for try await event in other.subscribe(after: .start, where: LogFilter(categories: ["a"])) {
            seen.add(event.id)
          }
        }
      }
      defer { reader.cancel() }
      // It listens.
      for _ in 0..<1_000 where seen.all.isEmpty {
        _ = try await log.append([event("first")], to: "a-1", expecting: .any)
        try await Task.sleep(for: .milliseconds(25))
      }
      for round in 0..<40 {
        // Long enough after the last one to be announced.
        try await Task.sleep(for: .milliseconds(60))
        _ = try await log.append([event("announced")], to: "other-1", expecting: .any)
        try await Task.sleep(for: .milliseconds(round % 8 * 2))
        let last = event("silent")
        _ = try await log.append([last], to: "a-1", expecting: .any)
        for _ in 0..<1_000 where seen.all.last != last.id { try await Task.sleep(for: .milliseconds(10)) }
        try #require(seen.all.last == last.id, "round \(round)")
      }
    }
  }
}
