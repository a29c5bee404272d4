import EventStore
import FoundationEssentials
import Testing

@Suite("Appends to several streams, and what is refused", .timeLimit(.minutes(15)))
struct AtomicAppendTests {
  @Test("several streams are appended to together", arguments: Backend.all)
  func together(backend: Backend) async throws {
    try await backend.withLog { log in
      try await log.append([.sample()], to: "b-1", expecting: .noStream)
      let results = try await log.append([
        StreamAppend(EventData.samples(2), to: "c-1", expecting: .noStream),
        StreamAppend(EventData.samples(3), to: "b-1", expecting: .exact(1)),
        StreamAppend(EventData.samples(1), to: "a-1", expecting: .any),
      ])
      #expect(results.map(\.stream) == ["c-1", "b-1", "a-1"])
      #expect(results.map(\.firstVersion) == [1, 2, 1])
      #expect(results.map(\.version) == [2, 4, 1])
      let all = try await log.readAll().collect()
      #expect(all.count == 7)
      for result in results {
        let events = all.filter { result.positions.contains($0.position) }
        #expect(events.allSatisfy { $0.stream == result.stream })
        #expect(events.map(\.version) == Array(result.firstVersion...result.version))
      }
    }
  }

  @Test("one conflict, and nothing is written", arguments: Backend.all)
  func oneConflict(backend: Backend) async throws {
    try await backend.withLog { log in
      try await log.append([.sample()], to: "account-1", expecting: .noStream)
      let error = await appendError { () throws(AppendError) in
        _ = try await log.append([
          StreamAppend([.sample()], to: "account-0", expecting: .any),
          StreamAppend([.sample()], to: "account-1", expecting: .exact(7)),
          StreamAppend([.sample()], to: "account-2", expecting: .noStream),
        ])
      }
      guard case .conflict(let conflict)? = error else {
        Issue.record("expected a conflict, found \(String(describing: error))")
        return
      }
      #expect(conflict == VersionConflict(stream: "account-1", expected: .exact(7), actual: 1))
      #expect(try await log.readAll().collect().count == 1)
      for stream in ["account-0", "account-2"] as [StreamName] {
        #expect(try await log.version(of: stream) == nil)
        #expect(try await log.append([.sample()], to: stream, expecting: .noStream).firstVersion == 1)
      }
    }
  }

  @Test("the largest version is one that is not there", arguments: Backend.all)
  func largestVersion(backend: Backend) async throws {
    try await backend.withLog { log in
      try await log.append([.sample()], to: "account-1", expecting: .noStream)
      let error = await appendError { () throws(AppendError) in
        _ = try await log.append([
          StreamAppend([.sample()], to: "account-2", expecting: .noStream),
          StreamAppend([.sample()], to: "account-1", expecting: .exact(.max)),
        ])
      }
      guard case .conflict(let conflict)? = error else {
        Issue.record("expected a conflict, found \(String(describing: error))")
        return
      }
      #expect(conflict == VersionConflict(stream: "account-1", expected: .exact(.max), actual: 1))
    }
  }

  @Test("a request that is wrong in itself", arguments: Backend.all)
  func invalid(backend: Backend) async throws {
    try await backend.withLog { log in
      let event = EventData.sample()
      var badVersion = EventData.sample()
      badVersion.schemaVersion = 0
      var badSubject = EventData.sample()
      badSubject.subject = String(repeating: "s", count: 513)
      let large = EventData(type: "t", payload: Payload(bytes: [UInt8](repeating: 0, count: (1 << 20) + 1)))
      let requests: [(name: String, appends: [StreamAppend])] = [
        ("no stream", []),
        ("no event", [StreamAppend([], to: "a-1", expecting: .any)]),
        (
          "a stream twice",
          [
            StreamAppend([.sample()], to: "a-1", expecting: .any),
            StreamAppend([.sample()], to: "a-1", expecting: .any),
          ]
        ),
        ("an id twice", [StreamAppend([event, event], to: "a-1", expecting: .any)]),
        ("a negative version", [StreamAppend([event], to: "a-1", expecting: .exact(-1))]),
        ("no type", [StreamAppend([.sample(type: "")], to: "a-1", expecting: .any)]),
        (
          "a long type",
          [StreamAppend([.sample(type: String(repeating: "é", count: 129))], to: "a-1", expecting: .any)]
        ),
        ("a control character", [StreamAppend([.sample(type: "a\nb")], to: "a-1", expecting: .any)]),
        ("one of two bytes", [StreamAppend([.sample(type: "a\u{9B}b")], to: "a-1", expecting: .any)]),
        ("schema version 0", [StreamAppend([badVersion], to: "a-1", expecting: .any)]),
        ("a long subject", [StreamAppend([badSubject], to: "a-1", expecting: .any)]),
        ("a large payload", [StreamAppend([large], to: "a-1", expecting: .any)]),
      ]
      for request in requests {
        let error = await appendError { () throws(AppendError) in _ = try await log.append(request.appends) }
        guard case .invalid? = error else {
          Issue.record("\(request.name): expected it to be refused, found \(String(describing: error))")
          continue
        }
      }
      let written = try await log.readAll().collect()
      #expect(written.isEmpty)
    }
  }

  @Test("names at their limits are kept", arguments: Backend.all)
  func longNames(backend: Backend) async throws {
    try await backend.withLog { log in
      let stream = try StreamName("account-" + String(repeating: "é", count: 252))
      let type = String(repeating: "ü", count: 128)
      try await log.append([.sample(type: type)], to: stream, expecting: .noStream)
      let event = try #require(try await log.readAll().collect().first)
      #expect(event.stream == stream && event.type == type)
    }
  }

  @Test(
    "names that no stream can have",
    arguments: ["", "-1", "a\u{0}b", "a\tb", String(repeating: "n", count: 513)])
  func badStreamNames(name: String) {
    #expect(throws: InvalidName.self) { try StreamName(name) }
  }

  @Test("an append of a task that is cancelled already writes nothing", arguments: Backend.all)
  func cancelled(backend: Backend) async throws {
    try await backend.withLog { log in
      let task = Task {
        withUnsafeCurrentTask { $0?.cancel() }
        return await appendError { () throws(AppendError) in
          try await log.append([.sample()], to: "account-1", expecting: .any)
        }
      }
      guard case .cancelled? = await task.value else {
        Issue.record("expected it to be cancelled")
        return
      }
      let version = try await log.version(of: "account-1")
      #expect(version == nil)
    }
  }
}
