import TestSupport
import Testing

@testable import EventStore

@Suite("The queue of appends, against a model")
struct AppendQueueModelTests {
  @Test("under random schedules", arguments: 0..<40)
  func model(seed: UInt64) throws {
    var numbers = SeededNumbers(seed: seed)
    let limits = AppendQueue.Limits(
      lanes: Int.random(in: 1...4, using: &numbers),
      eventsForFurtherLane: Int.random(in: 1...6, using: &numbers), events: Int.random(in: 1...8, using: &numbers),
      bytes: 2000)
    var queue = AppendQueue(limits)
    /// What was put in and has not come out.
    var expected: [AppendRequest] = []
    var inFlight: [AppendQueue.Batch] = []
    /// Requests that go on without their lane.
    var held: [AppendRequest] = []
    /// The lanes of those that take long.
    var overdue: Set<Int> = []
    /// The lane that waits for callers.
    var gathering: Int?
    var done = 0
    var entered = 0

    func check(_ batch: AppendQueue.Batch) {
      #expect(!batch.requests.isEmpty)
      #expect(inFlight.allSatisfy { $0.lane != batch.lane } && inFlight.count < limits.lanes)
      #expect(gathering == nil)
      let streams = batch.requests.flatMap(\.parts).map(\.stream)
      for other in (inFlight.flatMap(\.requests) + held).flatMap(\.parts) { #expect(!streams.contains(other.stream)) }
      if batch.requests.count > 1 {
        #expect(batch.requests.reduce(0) { $0 + $1.eventCount } <= limits.events)
        #expect(batch.requests.reduce(0) { $0 + $1.byteCount } <= limits.bytes)
      }
      for stream in Set(streams) {
        let sharing = batch.requests.filter { $0.parts.contains { $0.stream == stream } }
        #expect(sharing.count == 1 || sharing.allSatisfy(\.isFloating))
        // Each stream's appends leave in the order in which they came.
        let waiting = expected.filter { $0.parts.contains { $0.stream == stream } }
        #expect(AppendSamples.isSame(Array(waiting.prefix(sharing.count)), sharing))
      }
      expected.removeAll { request in batch.requests.contains { $0 === request } }
    }

    func step() {
      switch Int.random(in: 0..<11, using: &numbers) {
      case 10 where !inFlight.isEmpty:
        let batch = inFlight[Int.random(in: 0..<inFlight.count, using: &numbers)]
        queue.markOverdue(batch)
        overdue.insert(batch.lane)
      case 0..<5 where entered < 400:
        let count = Int.random(in: 0..<4, using: &numbers) == 0 ? 2 : 1
        let streams = Set(
          (0..<count).map { _ in StreamName(trusted: "s-\(Int.random(in: 0..<6, using: &numbers))") })
        let floats = Bool.random(using: &numbers)
        let request = AppendRequest(
          streams.sorted().map {
            AppendSamples.part(
              $0, floats ? .any : .exact(1), events: Int.random(in: 1...5, using: &numbers), bytes: 50)
          })
        entered += 1
        if let lane = queue.enqueue(request) {
          #expect(lane == gathering)
          gathering = nil
        }
        expected.append(request)
      case 5 where !expected.isEmpty:
        let request = expected[Int.random(in: 0..<expected.count, using: &numbers)]
        let wasWaiting = queue.withdraw(request)
        #expect(wasWaiting)
        expected.removeAll { $0 === request }
        done += 1
      case 6..<8:
        if let batch = queue.takeBatch() {
          check(batch)
          inFlight.append(batch)
        }
      case 9 where !held.isEmpty && Bool.random(using: &numbers): endHeld()
      case 8 where gathering != nil:
        let waited = gathering.map { queue.endGathering(of: $0) }
        #expect(waited == true)
        gathering = nil
      default:
        guard !inFlight.isEmpty else { return }
        let batch = inFlight.remove(at: Int.random(in: 0..<inFlight.count, using: &numbers))
        finish(batch)
      }
    }

    func finish(_ batch: AppendQueue.Batch) {
      overdue.remove(batch.lane)
      // Of a stream all or none.
      let streams = batch.requests.flatMap(\.parts).map(\.stream).filter { _ in
        Int.random(in: 0..<8, using: &numbers) == 0
      }
      let setAside = batch.requests.filter { $0.parts.contains { streams.contains($0.stream) } }
      held += setAside
      if let pause = queue.finish(batch, after: .milliseconds(20), except: setAside) {
        #expect(pause == .milliseconds(1) && gathering == nil && inFlight.allSatisfy { overdue.contains($0.lane) })
        gathering = batch.lane
      }
      done += batch.requests.count - setAside.count
    }

    func endHeld() {
      let stream = held[Int.random(in: 0..<held.count, using: &numbers)].parts[0].stream
      let ended = held.filter { $0.parts.contains { $0.stream == stream } }
      held.removeAll { request in ended.contains { $0 === request } }
      for request in ended { queue.release(request) }
      done += ended.count
    }

    for _ in 0..<1500 { step() }
    // Nothing is left behind.
    while done < entered {
      if gathering != nil {
        let waited = gathering.map { queue.endGathering(of: $0) }
        #expect(waited == true)
        gathering = nil
      } else if let batch = queue.takeBatch() {
        check(batch)
        inFlight.append(batch)
      } else if !held.isEmpty {
        endHeld()
      } else {
        let last = inFlight.popLast()
        finish(try #require(last, "appends wait although all lanes are free"))
      }
    }
    #expect(queue.isIdle && expected.isEmpty)
  }
}
