import EventStore
import FoundationEssentials
import Replay
import Synchronization
import TestSupport
import Testing

private struct Collected: ReplaySink {
  var events: [RecordedEvent] = []
  var sizes: [Int] = []
  var failsAfter = Int.max

  struct Full: Error {}

  mutating func take(_ events: [RecordedEvent]) async throws {
    if self.events.count + events.count > failsAfter { throw Full() }
    self.events += events
    sizes.append(events.count)
  }
}

@Suite("Replaying a part of the log", .database)
struct HistoryReplayTests {
  private func withHistory(_ body: (PostgreSQLEventLog, [RecordedEvent]) async throws -> Void) async throws {
    try await TestDatabase.required.withLog { log in
      for number in 0..<60 {
        let event = EventData(
          type: number % 3 == 0 ? "opened" : "moved", payload: .json("{\"n\":\(number)}"),
          occurredAt: Date(timeIntervalSince1970: Double(number) * 100))
        try await log.append(
          [event], to: StreamName(category: number % 2 == 0 ? "a" : "b", id: "\(number % 5)"), expecting: .any)
      }
      try await body(log, try await log.readAll().collect())
    }
  }

  @Test("by positions, times, categories, types and streams: as a filter of the whole log")
  func ranges() async throws {
    try await withHistory { log, all in
      var random = SeededNumbers(seed: 11)
      for _ in 0..<40 {
        var range = HistoryRange()
        if Bool.random(using: &random) { range.after = all[Int.random(in: 0..<50, using: &random)].position }
        if Bool.random(using: &random) { range.upTo = all[Int.random(in: 0..<60, using: &random)].position }
        if Bool.random(using: &random) {
          range.since = Date(timeIntervalSince1970: Double.random(in: 0..<6000, using: &random))
        }
        if Bool.random(using: &random) {
          range.until = Date(timeIntervalSince1970: Double.random(in: 0..<6000, using: &random))
        }
        if Bool.random(using: &random) { range.categories = ["a"] }
        if Bool.random(using: &random) { range.types = ["opened"] }
        if Bool.random(using: &random) { range.streams = ["a-2", "b-3"] }
        let expected = all.filter { event in
          event.position > range.after && range.upTo.map { event.position <= $0 } ?? true
            && range.since.map { event.time >= $0 } ?? true && range.until.map { event.time <= $0 } ?? true
            && (range.categories.isEmpty || range.categories.contains(event.stream.category))
            && (range.types.isEmpty || range.types.contains(event.type))
            && (range.streams.isEmpty || range.streams.contains(event.stream))
        }
        var sink = Collected()
        let batch = Int.random(in: 1...20, using: &random)
        let done = try await HistoryReplay(range, batch: batch).run(from: log, into: &sink)
        #expect(sink.events.map(\.id) == expected.map(\.id), "\(range)")
        #expect(done.events == expected.count && sink.sizes.allSatisfy { $0 <= batch })
      }
    }
  }

  @Test("a chunk has no more events than it may, whatever the pages, and none is lost between two")
  func chunks() async throws {
    try await withHistory { _, all in
      try await TestDatabase.required.withLog({ $0.pageSize = 7 }) { log in
        let readers = [
          ChunkReader(log, after: .start, .all, mostEvents: 5), ChunkReader(log.readAll(), mostEvents: 5),
        ]
        for reader in readers {
          var found: [RecordedEvent] = []
          while found.count < all.count, case .events(let chunk, _) = try await reader.next() {
            #expect(!chunk.isEmpty && chunk.count <= 5)
            found += chunk
          }
          #expect(found.map(\.id) == all.map(\.id))
        }
      }
    }
  }

  @Test("behind its last position nothing is read, also where that event is none of the range")
  func endOfRange() async throws {
    try await withHistory { _, all in
      try await TestDatabase.required.withLog({ $0.pageSize = 7 }) { log in
        let seen = Mutex(0)
        let reader = ChunkReader(log.readAll(), mostEvents: 1000, upTo: all[10].position) { _ in
          seen.withLock { $0 += 1 }
          return false
        }
        guard case .caughtUp = try await reader.next() else {
          Issue.record("there are no events in it")
          return
        }
        #expect(seen.withLock { $0 } == 14)
      }
    }
  }

  @Test("after a failure it goes on behind what has arrived")
  func resumed() async throws {
    try await withHistory { log, all in
      var sink = Collected(failsAfter: 25)
      var reached = Position.start
      await #expect(throws: Collected.Full.self) {
        try await HistoryReplay(HistoryRange(), batch: 10).run(from: log, into: &sink) { reached = $0.position }
      }
      #expect(reached == all[19].position)
      sink.failsAfter = .max
      var rest = HistoryRange()
      rest.after = reached
      try await HistoryReplay(rest, batch: 10).run(from: log, into: &sink)
      #expect(sink.events.map(\.id) == all.map(\.id))
    }
  }

  @Test("a limited rate is kept")
  func rate() async throws {
    try await withHistory { log, _ in
      var sink = Collected()
      let start = ContinuousClock.now
      try await HistoryReplay(HistoryRange(), rate: 200).run(from: log, into: &sink)
      #expect(start.duration(to: .now) >= .milliseconds(290) && sink.events.count == 60)
    }
  }
}
