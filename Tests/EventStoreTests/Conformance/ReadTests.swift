import EventStore
import FoundationEssentials
import Testing

@Suite("Reading", .timeLimit(.minutes(15)))
struct ReadTests {
  static let ranges: [(range: StreamRange, versions: [Int])] = [
    (.all, Array(1...20)),
    (.backwards, (1...20).reversed()),
    (.from(15), Array(15...20)),
    (.from(-3), Array(1...20)),
    (.from(21), []),
    (.upTo(3), [1, 2, 3]),
    (.upTo(99), Array(1...20)),
    (.upTo(0), []),
    (.upTo(-3), []),
    (StreamRange(versions: 5...16), Array(5...16)),
    (StreamRange(versions: 5...16, direction: .backwards), (5...16).reversed()),
    (StreamRange(limit: 1), [1]),
    (StreamRange(limit: 7), Array(1...7)),
    (StreamRange(limit: 14), Array(1...14)),
    (StreamRange(limit: 15), Array(1...15)),
    (StreamRange(limit: 0), []),
    (StreamRange(direction: .backwards, limit: 9), (12...20).reversed()),
    (StreamRange(versions: 4...9, direction: .backwards, limit: 2), [9, 8]),
  ]

  @Test("ranges of a stream, both ways, with and without a limit", arguments: Backend.all)
  func ranges(backend: Backend) async throws {
    try await backend.withLog { log in
      try await log.append([.sample()], to: "account-0", expecting: .noStream)
      try await log.append(EventData.samples(20), to: "account-1", expecting: .noStream)
      try await log.append([.sample()], to: "account-2", expecting: .noStream)
      for (range, versions) in Self.ranges {
        let events = try await log.read("account-1", range).collect()
        #expect(events.map(\.version) == versions, "\(range)")
        #expect(events.allSatisfy { $0.stream == "account-1" })
        var singly: [Int] = []
        for try await event in log.read("account-1", range) { singly.append(event.version) }
        #expect(singly == versions, "\(range)")
      }
    }
  }

  @Test(
    "until a time: what happened later is left out, and does not count for the limit", arguments: Backend.all)
  func until(backend: Backend) async throws {
    try await backend.withLog { log in
      // Out of order, as imported history may be.
      let days = [1, 2, 9, 3, 9, 4, 5, 9, 6, 9, 9, 7]
      let events = days.map {
        EventData(
          type: "t", payload: .json("{}"), occurredAt: Date(timeIntervalSince1970: Double($0) * 86_400))
      }
      try await log.append(events, to: "account-1", expecting: .noStream)
      let time = Date(timeIntervalSince1970: 5 * 86_400)
      let reads: [(StreamRange, [Int])] = [
        (.until(time), [1, 2, 4, 6, 7]),
        (StreamRange(direction: .backwards, until: time), [7, 6, 4, 2, 1]),
        (StreamRange(direction: .backwards, until: time, limit: 1), [7]),
        (StreamRange(until: time, limit: 3), [1, 2, 4]),
        (StreamRange(versions: 3...12, until: time, limit: 2), [4, 6]),
        (.until(Date(timeIntervalSince1970: 0)), []),
      ]
      for (range, versions) in reads {
        #expect(try await log.read("account-1", range).collect().map(\.version) == versions, "\(range)")
      }
      // What has no time of its own goes by when it was recorded.
      try await log.append([.sample()], to: "account-2", expecting: .noStream)
      #expect(try await log.read("account-2", .until(Date() + 60)).collect().count == 1)
      #expect(try await log.read("account-2", .until(Date() - 60)).collect().isEmpty)
    }
  }

  @Test("a stream that does not exist", arguments: Backend.all)
  func unknownStream(backend: Backend) async throws {
    try await backend.withLog { log in
      for range in [StreamRange.all, .backwards, .until(Date()), StreamRange(limit: 3)] {
        #expect(try await log.read("nobody-1", range).collect().isEmpty)
      }
      #expect(try await log.version(of: "nobody-1") == nil)
      // It may come into being afterwards.
      try await log.append([.sample()], to: "nobody-1", expecting: .noStream)
      #expect(try await log.read("nobody-1").collect().count == 1)
      #expect(try await log.version(of: "nobody-1") == 1)
    }
  }

  @Test("the whole log, from any position, in order", arguments: Backend.all)
  func wholeLog(backend: Backend) async throws {
    try await backend.withLog { log in
      #expect(try await log.readAll().collect().isEmpty)
      var positions: [Position] = []
      for number in 0..<12 {
        let stream = try StreamName(category: "account", id: "\(number % 4)")
        positions += try await log.append(EventData.samples(3), to: stream, expecting: .any).positions
      }
      let all = try await log.readAll().collect()
      #expect(all.map(\.position) == positions)
      #expect(positions == positions.sorted() && positions.allSatisfy { $0 > .start })
      for index in stride(from: 0, to: positions.count, by: 5) {
        let rest = try await log.readAll(after: positions[index]).collect()
        #expect(rest.map(\.position) == Array(positions[(index + 1)...]))
      }
    }
  }

  @Test("by category, by type, by both", arguments: Backend.all)
  func filters(backend: Backend) async throws {
    try await backend.withLog { log in
      for number in 0..<10 {
        for category in ["account", "accounting", "order"] {
          try await log.append(
            [.sample(type: "opened"), .sample(type: "closed")],
            to: StreamName(category: category, id: "\(number)"), expecting: .noStream)
        }
      }
      try await log.append([.sample(type: "opened")], to: "account", expecting: .noStream)
      let filters: [(LogFilter, Int)] = [
        (.all, 61), (.category("account"), 21), (.category("accounting"), 20), (.category("nothing"), 0),
        (LogFilter(categories: ["account", "order"]), 41), (LogFilter(categories: ["order", "nothing"]), 20),
        (.types("opened"), 31), (.types("opened", "closed"), 61), (.types("nothing"), 0),
        (LogFilter(categories: ["account"], types: ["closed"]), 10),
        (LogFilter(categories: ["account", "account"], types: ["closed"]), 10),
      ]
      for (filter, count) in filters {
        let events = try await log.readAll(after: .start, where: filter).collect()
        #expect(events.count == count, "\(filter)")
        #expect(
          events.allSatisfy { event in
            (filter.categories.isEmpty || filter.categories.contains(event.stream.category))
              && (filter.types.isEmpty || filter.types.contains(event.type))
          })
        #expect(events.map(\.position) == events.map(\.position).sorted())
      }
    }
  }
}
