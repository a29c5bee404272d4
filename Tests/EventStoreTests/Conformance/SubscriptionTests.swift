import EventStore
import FoundationEssentials
import Synchronization
import Testing

@Suite("Subscriptions", .timeLimit(.minutes(15)))
struct SubscriptionTests {
  @Test("first what is there, then what comes", arguments: Backend.all)
  func catchUpThenLive(backend: Backend) async throws {
    try await backend.withLog { log in
      try await log.append(EventData.samples(30), to: "account-1", expecting: .noStream)
      async let received = log.subscribe().first(50)
      for number in 0..<20 {
        try await log.append(
          [.sample()], to: StreamName(category: "order", id: "\(number)"), expecting: .noStream)
      }
      let events = try await received
      #expect(events.count == 50)
      #expect(events.map(\.position) == (try await log.readAll().collect().map(\.position)))
    }
  }

  @Test("goes on after any position", arguments: Backend.all)
  func resumes(backend: Backend) async throws {
    try await backend.withLog { log in
      let positions = try await log.append(EventData.samples(20), to: "account-1", expecting: .noStream)
        .positions
      var last = Position.start
      var seen: [Position] = []
      for count in [3, 1, 9, 7] {
        let events = try await log.subscribe(after: last).first(count)
        seen += events.map(\.position)
        last = try #require(seen.last)
      }
      #expect(seen == positions)
    }
  }

  @Test(
    "an event reaches a live subscription soon, also from one that waits for its category to exist",
    arguments: Backend.all)
  func filtered(backend: Backend) async throws {
    try await backend.withLog { log in
      async let received = log.subscribe(after: .start, where: .category("late")).first(3)
      try await log.append(EventData.samples(10), to: "account-1", expecting: .noStream)
      try await Task.sleep(for: .milliseconds(30))
      for number in 0..<3 {
        try await log.append(
          [.sample("\(number)")], to: StreamName(category: "late", id: "\(number)"), expecting: .noStream)
        try await log.append([.sample()], to: "account-1", expecting: .any)
      }
      #expect(try await received.map(\.text) == ["0", "1", "2"])
    }
  }

  @Test(
    "cancellation ends it promptly, while it waits and while it reads", arguments: Backend.all, [0, 2000])
  func cancellation(backend: Backend, events: Int) async throws {
    try await backend.withLog { log in
      if events > 0 { try await log.append(EventData.samples(events), to: "account-1", expecting: .noStream) }
      let count = Mutex(0)
      let task = Task { () -> ReadError? in
        do throws(ReadError) {
          for try await _ in log.subscribe() { count.withLock { $0 += 1 } }
          return nil
        } catch {
          return error
        }
      }
      try await Task.sleep(for: .milliseconds(events == 0 ? 150 : 3))
      let start = ContinuousClock.now
      task.cancel()
      let error = await task.value
      #expect(start.duration(to: .now) < .seconds(1))
      guard case .cancelled? = error else {
        Issue.record("expected it to be cancelled, found \(String(describing: error))")
        return
      }
    }
  }

  @Test("several readers do not disturb each other", arguments: Backend.all)
  func several(backend: Backend) async throws {
    try await backend.withLog { log in
      try await withThrowingTaskGroup { group in
        for _ in 0..<6 { group.addTask { try await log.subscribe().first(60).map(\.position) } }
        group.addTask {
          for number in 0..<60 {
            try await log.append(
              [.sample()], to: StreamName(category: "account", id: "\(number % 5)"), expecting: .any)
          }
          return []
        }
        let results = try await group.reduce(into: [[Position]]()) { if !$1.isEmpty { $0.append($1) } }
        #expect(results.count == 6 && Set(results).count == 1)
        #expect(results[0] == results[0].sorted())
      }
    }
  }
}
