import FoundationEssentials
import TestSupport
import Testing

@testable import EventStore

@Suite("Pages of the log", .database, .timeLimit(.minutes(15)))
struct PageSizeTests {
  @Test(
    "do not grow where a filter that has let nothing pass for long lets all pass, and lose nothing", arguments: [3, 10])
  func bounded(pageSize: Int) async throws {
    let (rare, frequent) = (2_000, 1_500)
    try await TestDatabase.required.withLog({ $0.pageSize = pageSize }) { log in
      func append(_ count: Int, to stream: StreamName, _ type: String) async throws {
        for start in stride(from: 0, to: count, by: 500) {
          let events = (start..<start + 500).map { EventData(type: type, payload: .json("\($0)")) }
          try await log.append(events, to: stream, expecting: .any)
        }
      }
      try await append(rare, to: "other-1", "unwanted")
      try await append(frequent, to: "wanted-1", "wanted")
      try await append(rare, to: "other-2", "unwanted")
      try await append(frequent, to: "wanted-1", "wanted")
      for filter in [LogFilter(categories: ["wanted"]), LogFilter(types: ["wanted"])] {
        var versions: [Int] = []
        for try await page in log.readAll(after: .start, where: filter).pages {
          #expect(page.count <= 4 * pageSize)
          versions += page.map(\.version)
        }
        #expect(versions == Array(1...2 * frequent))
      }
    }
  }

  @Test("are smaller where events are large, also where these are small until they are opened")
  func heavy() async throws {
    let large = Payload.json("\"\(String(repeating: "x", count: 128 << 10))\"")
    try await TestDatabase.required.withLog { log in
      for _ in 0..<15 {
        try await log.append((0..<100).map { _ in EventData(type: "t", payload: large) }, to: "a-1", expecting: .any)
      }
      for pages in [log.readAll().pages, log.read("a-1").pages, log.read("a-1", .backwards).pages] {
        var sizes: [Int] = []
        for try await page in pages { sizes.append(page.count) }
        #expect(sizes.reduce(0, +) == 1500)
        // What was asked for before the first was opened is of the first size.
        #expect(sizes.dropFirst(4).allSatisfy { $0 <= 128 } && sizes.allSatisfy { $0 <= 256 }, "\(sizes)")
      }
    }
  }

  @Test("weigh no more where large events come behind many small ones, and lose nothing")
  func largeBehindSmall() async throws {
    // What cannot be compressed.
    var random = SystemRandomNumberGenerator()
    let noise = (0..<1 << 17).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
    try await TestDatabase.required.withLog { log in
      func append(_ count: Int, of bytes: Int) async throws {
        for _ in 0..<count / 20 {
          let events = (0..<20).map { _ in EventData(type: "t", payload: Payload(bytes: Array(noise[..<bytes]))) }
          try await log.append(events, to: "a-1", expecting: .any)
        }
      }
      for (count, bytes) in [(1200, 10), (40, 1 << 20), (300, 10), (20, 20_000), (20, 300_000), (20, 10)] {
        try await append(count, of: bytes)
      }
      let total = 1600
      for (pages, isForwards) in [
        (log.readAll().pages, true), (log.read("a-1").pages, true), (log.read("a-1", .backwards).pages, false),
        (log.readAll(after: .start, where: .category("a")).pages, true),
        (log.read("a-1", StreamRange(until: .now)).pages, true),
        (log.read("a-1", StreamRange(limit: 1230)).pages, true),
      ] {
        var versions: [Int] = []
        var heaviest = 0
        for try await page in pages {
          versions += page.map(\.version)
          heaviest = max(heaviest, try page.reduce(0) { $0 + (try $1.payload.get().bytes.count) })
        }
        #expect(versions == (isForwards ? Array(1...versions.count) : (1...total).reversed()))
        #expect(versions.count == total || versions.count == 1230)
        #expect(heaviest <= 16 << 20, "\(heaviest)")
      }
    }
  }

  @Test("of no events at all are taken for those of one")
  func none() async throws {
    try await TestDatabase.required.withLog({ $0.pageSize = 0 }) { log in
      try await log.append(EventData.samples(3), to: "a-1", expecting: .noStream)
      #expect(try await log.readAll().collect().count == 3)
      #expect(try await log.read("a-1").collect().count == 3)
    }
  }

  @Test("do not grow behind positions that were drawn and never committed")
  func gap() async throws {
    let database = try TestDatabase.required
    try await database.withLog({ $0.pageSize = 5 }) { log in
      try await database.sql("SELECT count(nextval('eventstore.events_position_seq')) FROM generate_series(1, 5000)")
      try await log.append((0..<300).map { EventData(type: "t", payload: .json("\($0)")) }, to: "a-1", expecting: .any)
      var versions: [Int] = []
      for try await page in log.readAll().pages {
        #expect(page.count <= 20)
        versions += page.map(\.version)
      }
      #expect(versions == Array(1...300))
    }
  }
}
