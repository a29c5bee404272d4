import EventStore
import FoundationEssentials
import Testing

@Suite("Writers at the same time", .timeLimit(.minutes(15)))
struct ConcurrencyTests {
  @Test("two writers that expect the same version: exactly one wins", arguments: Backend.all, [2, 8, 32])
  func oneWins(backend: Backend, writers: Int) async throws {
    try await backend.withLog { log in
      for round in 0..<5 {
        let outcomes = await withTaskGroup { group in
          for _ in 0..<writers {
            group.addTask {
              await appendError { () throws(AppendError) in
                try await log.append([.sample()], to: "account-1", expecting: .exact(round))
              }
            }
          }
          return await group.reduce(into: [AppendError?]()) { $0.append($1) }
        }
        #expect(outcomes.count { $0 == nil } == 1)
        for case .some(let error) in outcomes {
          guard case .conflict(let conflict) = error else {
            Issue.record("expected a conflict, found \(error)")
            continue
          }
          #expect(conflict.actual == round + 1)
        }
      }
    }
  }

  @Test(
    "32 writers with exact versions on few streams: every success is there once, no gap",
    arguments: Backend.all)
  func exactVersions(backend: Backend) async throws {
    let streams: [StreamName] = ["account-1", "account-2", "account-3"]
    try await backend.withLog { log in
      let successes = try await withThrowingTaskGroup { group in
        for writer in 0..<32 {
          group.addTask {
            var successes: [UUID: StreamName] = [:]
            var numbers = SystemRandomNumberGenerator()
            while successes.count < 4 {
              let stream = streams[Int.random(in: 0..<streams.count, using: &numbers)]
              let version = try await log.version(of: stream) ?? 0
              let event = EventData.sample("\(writer)")
              do {
                let appended = try await log.append([event], to: stream, expecting: .exact(version))
                #expect(appended.version == version + 1)
                successes[event.id] = stream
              } catch AppendError.conflict(let conflict) {
                #expect(conflict.actual > version)
              }
            }
            return successes
          }
        }
        return try await group.reduce(into: [UUID: StreamName]()) { $0.merge($1) { first, _ in first } }
      }
      #expect(successes.count == 128)
      try await expectWhole(log, streams, successes)
    }
  }

  @Test("writers of any version interleave, and each append stays together", arguments: Backend.all)
  func anyVersion(backend: Backend) async throws {
    let streams: [StreamName] = ["account-1", "account-2"]
    try await backend.withLog { log in
      let successes = try await withThrowingTaskGroup { group in
        for writer in 0..<32 {
          group.addTask {
            var successes: [UUID: StreamName] = [:]
            for round in 0..<5 {
              let events = EventData.samples(1 + (writer + round) % 3)
              let stream = streams[(writer + round) % 2]
              let appended = try await log.append(events, to: stream, expecting: .any)
              #expect(
                appended.positions.count == events.count && appended.positions == appended.positions.sorted())
              for event in events { successes[event.id] = stream }
              let range = StreamRange(versions: appended.firstVersion...appended.version)
              #expect(try await log.read(stream, range).collect().map(\.id) == events.map(\.id))
            }
            return successes
          }
        }
        return try await group.reduce(into: [UUID: StreamName]()) { $0.merge($1) { first, _ in first } }
      }
      try await expectWhole(log, streams, successes)
    }
  }

  @Test("appends to several streams in any order, from many tasks", arguments: Backend.all)
  func crossing(backend: Backend) async throws {
    let streams: [StreamName] = ["a-1", "b-1", "c-1", "d-1"]
    try await backend.withLog { log in
      try await withThrowingTaskGroup { group in
        for writer in 0..<16 {
          group.addTask {
            for round in 0..<8 {
              var order = streams
              order.shuffle()
              let appends = order.prefix(2 + (writer + round) % 3).map {
                StreamAppend([.sample("\(writer) \(round)")], to: $0, expecting: .any)
              }
              _ = try await log.append(appends)
            }
          }
        }
        try await group.waitForAll()
      }
      // Two streams saw the same appends in the same order.
      for (first, second) in zip(streams, streams.dropFirst()) {
        let one = try await log.read(first).collect().map(\.text)
        let other = try await log.read(second).collect().map(\.text)
        let both = Set(one).intersection(other)
        #expect(one.filter { both.contains($0) } == other.filter { both.contains($0) })
      }
    }
  }

  /// Every success is in the log once, and streams and log agree.
  private func expectWhole(
    _ log: any EventLog, _ streams: [StreamName], _ successes: [UUID: StreamName]
  ) async throws {
    let all = try await log.readAll().collect()
    #expect(all.count == successes.count && Set(all.map(\.id)).count == all.count)
    #expect(all.allSatisfy { successes[$0.id] == $0.stream })
    for stream in streams {
      let events = try await log.read(stream).collect()
      #expect(events.map(\.version) == Array(1..<events.count + 1))
      #expect(all.filter { $0.stream == stream }.map(\.id) == events.map(\.id))
    }
  }
}
