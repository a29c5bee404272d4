import EventStore
import FoundationEssentials
import Testing

@Suite("Retries", .timeLimit(.minutes(15)))
struct RetryTests {
  /// An expectation, and the events that the stream has before.
  static let modes: [(expected: ExpectedVersion, existing: Int)] = [
    (.noStream, 0), (.exact(0), 0), (.exact(2), 2), (.any, 0), (.any, 2), (.streamExists, 2),
  ]

  @Test("the same ids again give the first result and write nothing", arguments: Backend.all)
  func retry(backend: Backend) async throws {
    try await backend.withLog { log in
      for (number, mode) in Self.modes.enumerated() {
        let stream = try StreamName(category: "account", id: "\(number)")
        if mode.existing > 0 {
          try await log.append(EventData.samples(mode.existing), to: stream, expecting: .noStream)
        }
        let events = EventData.samples(3)
        let first = try await log.append(events, to: stream, expecting: mode.expected)
        let second = try await log.append(events, to: stream, expecting: mode.expected)
        #expect(!first.wasDuplicate && second.wasDuplicate, "\(mode)")
        #expect(second.firstVersion == first.firstVersion && second.positions == first.positions, "\(mode)")

        // Also after others have appended.
        try await log.append([.sample()], to: stream, expecting: .any)
        let third = try await log.append(events, to: stream, expecting: mode.expected)
        #expect(third.wasDuplicate && third.positions == first.positions, "\(mode)")
        #expect(try await log.version(of: stream) == mode.existing + 4, "\(mode)")
      }
    }
  }

  @Test("the same id with other content is refused", arguments: Backend.all)
  func otherContent(backend: Backend) async throws {
    try await backend.withLog { log in
      for (number, mode) in Self.modes.enumerated() {
        let stream = try StreamName(category: "account", id: "\(number)")
        if mode.existing > 0 {
          try await log.append(EventData.samples(mode.existing), to: stream, expecting: .noStream)
        }
        let event = EventData.sample("{\"amount\":1}")
        try await log.append([event], to: stream, expecting: mode.expected)
        var variants = [event, event, event, event, event]
        variants[0].payload = .json("{\"amount\":2}")
        variants[1].type = "test.other"
        variants[2].schemaVersion = 2
        variants[3].metadata = Metadata(correlationID: "c")
        variants[4].occurredAt = Date(timeIntervalSince1970: 1)
        for variant in variants {
          await expectDuplicate(log, [variant], event.id, stream, mode.expected)
        }
        // One event more than the first time.
        await expectDuplicate(log, [event, .sample()], event.id, stream, mode.expected)
        #expect(try await log.version(of: stream) == mode.existing + 1, "\(mode)")
      }
    }
  }

  @Test(
    "an id that was second then and is second now, after another first, is refused at once",
    arguments: Backend.all)
  func laterID(backend: Backend) async throws {
    try await backend.withLog { log in
      let (first, shared) = (EventData.sample(), EventData.sample())
      try await log.append([first, shared], to: "account-1", expecting: .any)
      await expectDuplicate(log, [.sample(), shared], shared.id, "account-1", .any)
      await expectDuplicate(log, [shared], shared.id, "account-1", .any, isSameContent: true)
      #expect(try await log.version(of: "account-1") == 2)
    }
  }

  @Test("a retry that overtakes its first try, with many others at once", arguments: Backend.all)
  func concurrentRetries(backend: Backend) async throws {
    try await backend.withLog { log in
      let events = EventData.samples(2)
      let results = try await withThrowingTaskGroup { group in
        for _ in 0..<8 {
          group.addTask { try await log.append(events, to: "account-1", expecting: .any) }
          group.addTask { try await log.append([.sample()], to: "account-1", expecting: .any) }
        }
        return try await group.reduce(into: [Appended]()) { $0.append($1) }
      }
      let same = results.filter { $0.positions.count == 2 }
      #expect(same.count == 8 && Set(same.map(\.positions)).count == 1)
      #expect(same.count { !$0.wasDuplicate } == 1)
      #expect(try await log.version(of: "account-1") == 10)
    }
  }

  @Test("the same id may stand in two streams", arguments: Backend.all)
  func otherStream(backend: Backend) async throws {
    try await backend.withLog { log in
      let event = EventData.sample()
      for stream in ["account-1", "account-2"] as [StreamName] {
        let appended = try await log.append([event], to: stream, expecting: .any)
        #expect(!appended.wasDuplicate)
      }
    }
  }

  @Test("the id that is told is the one that is there", arguments: Backend.all)
  func toldID(backend: Backend) async throws {
    try await backend.withLog { log in
      let shared = EventData.sample()
      try await log.append([shared], to: "order-2", expecting: .any)
      for streams in [("order-1", "order-2"), ("order-3", "order-2")] as [(StreamName, StreamName)] {
        let error = await appendError { () throws(AppendError) in
          _ = try await log.append([
            StreamAppend([.sample()], to: streams.0, expecting: .any),
            StreamAppend([.sample(), shared], to: streams.1, expecting: .any),
          ])
        }
        guard case .duplicateEventID(let id, "order-2")? = error else {
          Issue.record("expected a duplicate id in order-2, found \(String(describing: error))")
          return
        }
        #expect(id == shared.id.uuidString.lowercased())
      }
    }
  }

  @Test("at any time that PostgreSQL keeps, to the microsecond", arguments: Backend.all)
  func times(backend: Backend) async throws {
    try await backend.withLog { log in
      var random = SystemRandomNumberGenerator()
      // Where seconds since 2001 have no bit to spare for a microsecond, and elsewhere.
      let times = (0..<300).map { number -> Date in
        let bounds = [-4_503_000_000.0 ... -4_295_000_000, 4_295_000_000...4_503_000_000, 0...800_000_000][number % 3]
        return Date(timeIntervalSinceReferenceDate: Double.random(in: bounds, using: &random))
      }
      let events = times.map { time in
        var event = EventData.sample()
        event.occurredAt = time
        return event
      }
      try await log.append(events, to: "account-1", expecting: .noStream)
      #expect(try await log.append(events, to: "account-1", expecting: .noStream).wasDuplicate)
    }
  }

  @Test("a retry of an append to several streams", arguments: Backend.all)
  func group(backend: Backend) async throws {
    try await backend.withLog { log in
      let (first, second) = (EventData.sample(), EventData.sample())
      func appends(_ first: EventData, _ second: EventData) -> [StreamAppend] {
        [
          StreamAppend([first], to: "account-2", expecting: .noStream),
          StreamAppend([second], to: "account-1", expecting: .any),
        ]
      }
      let written = try await log.append(appends(first, second))
      let again = try await log.append(appends(first, second))
      #expect(again.map(\.positions) == written.map(\.positions))
      #expect(again.allSatisfy { $0.wasDuplicate } && again.map(\.stream) == ["account-2", "account-1"])

      // One part was there, the other was not: not the same append.
      let error = await appendError { () throws(AppendError) in
        _ = try await log.append(appends(first, .sample()))
      }
      guard case .duplicateEventID(let id, "account-2")? = error else {
        Issue.record("expected a duplicate id in account-2, found \(String(describing: error))")
        return
      }
      #expect(id == first.id.uuidString.lowercased())
      #expect(try await log.readAll().collect().count == 2)
    }
  }

  private func expectDuplicate(
    _ log: any EventLog, _ events: [EventData], _ id: UUID, _ stream: StreamName, _ expected: ExpectedVersion,
    isSameContent: Bool = false, sourceLocation: SourceLocation = #_sourceLocation
  ) async {
    let error = await appendError { () throws(AppendError) in
      let appended = try await log.append(events, to: stream, expecting: expected)
      #expect(isSameContent && appended.wasDuplicate, sourceLocation: sourceLocation)
    }
    if isSameContent, error == nil { return }
    guard case .duplicateEventID(let found, stream)? = error else {
      Issue.record(
        "expected a duplicate id, found \(String(describing: error))", sourceLocation: sourceLocation)
      return
    }
    #expect(found == id.uuidString.lowercased(), sourceLocation: sourceLocation)
  }
}
