import FoundationEssentials
import TestSupport
import Testing

@testable import EventStore

@Suite("Deadlocks", .database, .timeLimit(.minutes(15)))
struct DeadlockTests {
  @Test("appends to several streams in opposite order, from several processes' worth of logs")
  func oppositeOrder() async throws {
    let database = try TestDatabase.required
    // New streams, new keys and known streams in one.
    try await withThrowingTaskGroup { group in
      for process in 0..<3 {
        group.addTask {
          try await database.withLog({ $0.appendLanes = 3 }) { log in
            try await withThrowingTaskGroup { group in
              for writer in 0..<4 {
                group.addTask {
                  for round in 0..<12 {
                    var ids = Array(0..<5) + [100 + round, 200 + round]
                    if (process + writer) % 2 == 0 { ids.reverse() } else { ids.shuffle() }
                    _ = try await log.append(
                      try ids.map {
                        StreamAppend(
                          [.sample()], to: try StreamName(category: "c\($0 % 3)", id: "\($0)"),
                          expecting: .any)
                      })
                  }
                }
              }
              try await group.waitForAll()
            }
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try await database.number("SELECT count(*) FROM eventstore.events") == 3 * 4 * 12 * 7)
    // A server process reports its figures when it ends, which is a moment after its connection does.
    try await Task.sleep(for: .milliseconds(300))
    #expect(
      try await database.number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        == 0)
  }

  /// What callers were told.
  private struct Told: Sendable {
    var made: [StreamName] = []
    var events: [StreamName: [(version: Int, id: UUID)]] = [:]

    mutating func add(_ other: Told) {
      made += other.made
      events.merge(other.events) { $0 + $1 }
    }
  }

  @Test("four processes' worth of logs make the same streams: each is made once, none has a gap, nobody deadlocks")
  func race() async throws {
    let database = try TestDatabase.required
    let names = try (0..<60).map { try StreamName(category: "order", id: "\($0 * 7919 % 997)") }
    let told = try await withThrowingTaskGroup(of: Told.self) { group in
      for _ in 0..<4 {
        group.addTask {
          try await database.withLog { log in
            try await withThrowingTaskGroup(of: Told.self) { group in
              for caller in 0..<8 {
                group.addTask {
                  var told = Told()
                  for number in 0..<names.count {
                    let stream = names[(number + caller * 5) % names.count]
                    let events = EventData.samples(number % 3 == 0 ? 2 : 1)
                    let expected: ExpectedVersion = (number + caller) % 2 == 0 ? .noStream : .any
                    do {
                      let appended = try await log.append(events, to: stream, expecting: expected)
                      if expected == .noStream { told.made.append(stream) }
                      for (index, event) in events.enumerated() {
                        told.events[stream, default: []].append((appended.firstVersion + index, event.id))
                      }
                    } catch AppendError.conflict(let conflict) {
                      #expect(expected == .noStream && conflict.actual > 0)
                    }
                  }
                  return told
                }
              }
              return try await group.reduce(into: Told()) { $0.add($1) }
            }
          }
        }
      }
      return try await group.reduce(into: Told()) { $0.add($1) }
    }
    #expect(Set(told.made).count == told.made.count)
    try await database.withLog { log in
      for stream in names {
        let own = (told.events[stream] ?? []).sorted { $0.version < $1.version }
        let recorded = try await log.read(stream).collect()
        #expect(recorded.map(\.version) == Array(1...own.count))
        #expect(recorded.map(\.id) == own.map(\.id))
        #expect(zip(recorded, recorded.dropFirst()).allSatisfy { $0.position < $1.position })
        for event in recorded { _ = try event.payload.get() }
      }
    }
    let deadlocks = try await database.column(
      "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()", as: Int.self)
    #expect(deadlocks == [0])
  }
}
