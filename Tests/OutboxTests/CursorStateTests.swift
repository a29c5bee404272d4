import EventStore
import FoundationEssentials
import TestSupport
import Testing

@testable import Outbox

@Suite("Cursors, without a database")
struct CursorStateTests {
  @Test("whatever happens: order in a key, nothing lost, nothing again that was written down", arguments: 0..<40)
  func model(_ round: UInt64) throws {
    for seed in 0..<5 {
      var model = CursorModel(
        seed: round * 1000 + UInt64(seed), holdsKeys: round % 2 == 1, perStart: round % 3 == 0 ? 4 : 1,
        timersPass: [nil, true, false][Int(round / 2) % 3])
      do {
        try model.run(events: 120, steps: 1500)
      } catch {
        Issue.record("round \(round), seed \(seed): \(error)")
        return
      }
      // A run in which nothing happened shows nothing.
      let (starts, crashes) = (model.starts, model.crashes)
      #expect(starts >= 120 * 8 / 10 / 4 && crashes > 0)
    }
  }

  @Test("many keys that are behind: no more of their events in memory than is allowed, and each comes, in order")
  func backlogs() throws {
    let (keys, each, most) = (300, 100, 1_000)
    var limits = CursorState.Limits()
    limits.window = 100_000
    limits.eventsKeptInAll = most
    let state = CursorState(at: CursorPlace(position: 0), shards: .all, limits: limits)
    let events = (0..<keys * each).map { number in
      RecordedEvent(
        id: UUID(), stream: StreamName(trusted: "key-\(number % keys)"), version: number / keys + 1,
        position: Position(Int64(number + 1)), type: "made", schemaVersion: 1, recordedAt: .now,
        payload: .success(.json("{}")))
    }
    let key: (RecordedEvent) -> (name: String, shard: UInt8)? = { ($0.stream.description, 0) }
    state.admit(events, key: key)
    // All of them fail, and come again at the same time.
    while let flight = state.start(now: 0) { state.finish(flight, .retry(after: .seconds(1), problem: "no"), now: 0) }
    #expect(state.eventsInBacklogs <= most + keys)
    var versions: [String: [Int]] = [:]
    var rounds = 0
    while versions.values.reduce(0, { $0 + $1.count }) < keys * each, rounds < 10_000 {
      rounds += 1
      let wanted = state.takeWanted(now: 2_000_000_000)
      if !wanted.isEmpty {
        let found = Set(wanted).sorted().map { events[Int($0) - 1] }
        state.deliver(found, wanted: wanted, now: 2_000_000_000, key: key)
      }
      let kept = state.eventsInBacklogs
      guard kept <= most + keys else {
        Issue.record("\(kept) events are kept")
        return
      }
      for _ in 0..<50 {
        guard let flight = state.start(now: 2_000_000_000), let event = flight.first.event else { break }
        versions[flight.key, default: []].append(event.version)
        state.finish(flight, .done, now: 2_000_000_000)
      }
    }
    #expect(versions.count == keys && versions.values.allSatisfy { $0 == Array(1...each) })
  }
}
