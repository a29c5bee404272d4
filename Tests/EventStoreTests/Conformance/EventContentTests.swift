import FoundationEssentials
import Testing

@testable import EventStore

@Suite("What an event carries", .timeLimit(.minutes(15)))
struct EventContentTests {
  @Test("two spellings of a name that look the same are two streams, with a key each", arguments: Backend.all)
  func spellings(backend: Backend) async throws {
    try await backend.withLog { log in
      let names = ["account-\u{e9}", "account-e\u{301}", "account-\u{212b}", "account-\u{c5}"].map(
        StreamName.init(stringLiteral:))
      for (count, name) in names.enumerated() {
        try await log.append(EventData.samples(count + 1), to: name, expecting: .noStream)
      }
      for _ in 1...2 {
        for (count, name) in names.enumerated() {
          #expect(try await log.version(of: name) == count + 1)
          let events = try await log.read(name).collect()
          #expect(events.count == count + 1 && events.allSatisfy { $0.stream == name && !$0.text.hasPrefix("<") })
          #expect(Set(names).count == 4)
        }
      }
      let scanned = try await log.readAll().collect()
      #expect(scanned.count == 10 && scanned.allSatisfy { !$0.text.hasPrefix("<") })
    }
  }

  @Test(
    "a category ends at the first hyphen, whatever combines with that, and is compared byte by byte",
    arguments: Backend.all)
  func categories(backend: Backend) async throws {
    try await backend.withLog { log in
      let names = [
        "account-\u{301}x", "account-\u{fe0f}", "account-1", "caf\u{e9}-1", "cafe\u{301}-1", "cafe-\u{301}", "account",
      ].map(StreamName.init(stringLiteral:))
      #expect(
        names.map(\.category) == ["account", "account", "account", "caf\u{e9}", "cafe\u{301}", "cafe", "account"])
      #expect(names[0].id.utf8.elementsEqual("\u{301}x".utf8) && names[6].id.isEmpty)
      for name in names { try await log.append(EventData.samples(1), to: name, expecting: .noStream) }
      for (category, expected) in [
        ("account", [0, 1, 2, 6]), ("caf\u{e9}", [3]), ("cafe\u{301}", [4]), ("cafe", [5]), ("caf", []),
      ] {
        let events = try await log.readAll(after: .start, where: .category(category)).collect()
        #expect(events.map(\.stream) == expected.map { names[$0] }, "\(category)")
        let all = try await log.readAll().collect()
        #expect(all.filter(LogFilter.category(category).admits).map(\.id) == events.map(\.id))
      }
    }
    let nameless = "-\u{301}x"
    #expect(throws: InvalidName.self) { try StreamName(nameless) }
    #expect(throws: InvalidName.self) { try StreamName(category: "a-\u{301}", id: "1") }
  }

  @Test("everything comes back as it was given", arguments: Backend.all)
  func roundTrip(backend: Backend) async throws {
    try await backend.withLog { log in
      let before = Date()
      // To the microsecond, also before 1970.
      let times: [Date?] = [
        nil, Date(timeIntervalSince1970: 0), Date(timeIntervalSince1970: -86_400.5),
        Date(timeIntervalSince1970: 1_700_000_000.123456),
      ]
      let payloads = [
        Payload(bytes: []), Payload(bytes: Array(0...255)), .json("{ \"b\" : 1,\n \"a\" : \"\\u00e9 é 💶\" }"),
        Payload(bytes: [UInt8](repeating: 7, count: 300_000)),
      ]
      let metadata = [
        Metadata(), Metadata(correlationID: "c", causationID: "a", traceparent: "00-ab-cd-01"),
        Metadata(["note": "with \"quotes\" and \\ and \u{1} and é"]),
        try Metadata(json: Array("{\"n\": 1, \"deep\": {\"a\": [1, 2]}}".utf8)),
      ]
      var events: [EventData] = []
      for index in 0..<4 {
        events.append(
          EventData(
            type: "test.kind\(index)", schemaVersion: index + 1, payload: payloads[index],
            metadata: metadata[index],
            subject: index == 2 ? "customer-7" : nil, occurredAt: times[index]))
      }
      try await log.append(events, to: "account-1", expecting: .noStream)
      let recorded = try await log.read("account-1").collect()
      #expect(recorded.count == 4)
      for (event, recorded) in zip(events, recorded) {
        #expect(recorded.id == event.id && recorded.type == event.type)
        #expect(recorded.schemaVersion == event.schemaVersion)
        #expect(recorded.metadata == event.metadata)
        #expect(try recorded.payload.get() == event.payload)
        #expect(recorded.stream == "account-1")
        #expect(recorded.recordedAt > before - 60 && recorded.recordedAt < Date() + 60)
        if let time = event.occurredAt {
          let found = try #require(recorded.occurredAt)
          #expect(abs(found.timeIntervalSince(time)) < 0.000_001)
          #expect(recorded.time == found)
        } else {
          #expect(recorded.occurredAt == nil && recorded.time == recorded.recordedAt)
        }
      }
      #expect(recorded[1].metadata.correlationID == "c" && recorded[1].metadata.traceparent == "00-ab-cd-01")
      #expect(recorded[3].metadata["n"] == "1")
      // The same from the whole log.
      let all = try await log.readAll().collect()
      #expect(all.map(\.id) == recorded.map(\.id) && all.map(\.metadata) == recorded.map(\.metadata))
    }
  }

  struct Opened: Event, Equatable {
    static let eventType = "account.opened"
    static let schemaVersion = 3
    var owner: String
    var currency: String
    var limit: Int
  }

  @Test("payloads of schema version 1 and 2 are raised to 3", arguments: Backend.all)
  func upcasting(backend: Backend) async throws {
    struct V1: Codable { var name: String }
    struct V2: Codable {
      var owner: String
      var currency: String
    }
    try await backend.withLog { log in
      var codec = EventCodec(Opened.self)
      codec.upcast("account.opened", from: 1) { (old: V1) in V2(owner: old.name, currency: "EUR") }
      codec.upcast("account.opened", from: 2) { (old: V2) in
        Opened(owner: old.owner, currency: old.currency, limit: 0)
      }
      try await log.append(
        [
          EventData(type: "account.opened", schemaVersion: 1, payload: .json("{\"name\":\"Ada\"}")),
          EventData(
            type: "account.opened", schemaVersion: 2,
            payload: .json("{\"owner\":\"Bob\",\"currency\":\"CHF\"}")),
        ], to: "account-1", expecting: .noStream)
      let current: [any Event] = [Opened(owner: "Cy", currency: "SEK", limit: 9)]
      try await log.append(current, to: "account-1", expecting: .exact(2), codec: codec)
      let decoded = try await log.read("account-1").collect().map { try codec.decode($0) as? Opened }
      #expect(
        decoded == [
          Opened(owner: "Ada", currency: "EUR", limit: 0), Opened(owner: "Bob", currency: "CHF", limit: 0),
          Opened(owner: "Cy", currency: "SEK", limit: 9),
        ])
    }
  }
}
