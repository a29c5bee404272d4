import FoundationEssentials
import TestSupport
import Testing

@testable import EventStore

@Suite("The queue of appends")
struct AppendQueueTests {
  private static func part(
    _ stream: StreamName, _ expected: ExpectedVersion = .any, events: Int = 1, bytes: Int = 100
  ) -> SealedAppend {
    SealedAppend(
      stream: stream, entry: nil, expected: expected, hasSeenExpected: false,
      events: (0..<events).map { _ in
        SealedEvent(
          id: UUID(), type: "t", schemaVersion: 1, occurredAt: nil, metadata: [],
          envelope: [UInt8](repeating: 0, count: bytes))
      }, newKeys: [])
  }

  private static func request(
    _ stream: StreamName, _ expected: ExpectedVersion = .any, events: Int = 1, bytes: Int = 100
  ) -> AppendRequest {
    AppendRequest([part(stream, expected, events: events, bytes: bytes)])
  }

  /// The next batch, where there must be one.
  private static func batch(_ queue: inout AppendQueue) throws -> AppendQueue.Batch {
    let batch = queue.takeBatch()
    return try #require(batch)
  }

  private static func isSame(_ left: [AppendRequest], _ right: [AppendRequest]) -> Bool {
    left.count == right.count && zip(left, right).allSatisfy { $0 === $1 }
  }

  @Test("a lone append goes at once")
  func lone() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 1))
    #expect(queue.isIdle && queue.takeBatch() == nil)
    let request = Self.request("a-1")
    queue.enqueue(request)
    let batch = try Self.batch(&queue)
    #expect(Self.isSame(batch.requests, [request]))
    #expect(!queue.isIdle)
    queue.finish(batch)
    #expect(queue.isIdle)
  }

  @Test("a caller counts as alone until it meets another, and again after a while")
  func alone() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2))
    func next(_ stream: StreamName) throws -> AppendQueue.Batch {
      queue.enqueue(Self.request(stream))
      return try Self.batch(&queue)
    }
    let first = try next("a-1")
    let second = try next("b-1")
    #expect(first.isAlone && !second.isAlone)
    queue.finish(first)
    queue.finish(second)
    var lonely = 0
    for _ in 0..<1000 {
      let batch = try next("a-1")
      if batch.isAlone { lonely += 1 }
      queue.finish(batch)
    }
    #expect((500..<1000).contains(lonely))
    queue.waitedInVain()
    let afterwards = try next("a-1")
    #expect(!afterwards.isAlone)
  }

  @Test("what comes while all lanes are busy travels together")
  func together() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 1))
    queue.enqueue(Self.request("a-0"))
    let first = try Self.batch(&queue)
    let waiting = (1...20).map { Self.request(StreamName(trusted: "a-\($0)"), .exact(3)) }
    for request in waiting { queue.enqueue(request) }
    #expect(queue.takeBatch() == nil)
    queue.finish(first)
    let next = try Self.batch(&queue)
    #expect(Self.isSame(next.requests, waiting))
  }

  @Test("appends of exact versions to one stream go one after the other, those of any version together")
  func sameStream() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 4))
    let exact = [Self.request("a-1", .exact(1)), Self.request("a-1", .exact(2))]
    let floating = [Self.request("b-1"), Self.request("b-1")]
    for request in exact + floating { queue.enqueue(request) }
    let first = try Self.batch(&queue)
    #expect(Self.isSame(first.requests, [exact[0]] + floating))
    #expect(queue.takeBatch() == nil, "its stream is in flight")
    queue.finish(first)
    let next = try Self.batch(&queue)
    #expect(Self.isSame(next.requests, [exact[1]]))
  }

  @Test("a held append is not overtaken on any of its streams")
  func noOvertaking() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 4))
    queue.enqueue(Self.request("a-1", .exact(1)))
    let first = try Self.batch(&queue)
    let both = AppendRequest([Self.part("a-1"), Self.part("b-1")])
    let later = Self.request("b-1")
    let other = Self.request("c-1")
    for request in [both, later, other] { queue.enqueue(request) }
    let next = try Self.batch(&queue)
    #expect(Self.isSame(next.requests, [other]))
    queue.finish(first)
    let afterwards = try Self.batch(&queue)
    #expect(Self.isSame(afterwards.requests, [both]))
    #expect(queue.takeBatch() == nil)
  }

  @Test("limits hold, except for a single append that is larger by itself")
  func limits() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 8, eventsForFurtherLane: 1, events: 10, bytes: 1000))
    let requests = [
      Self.request("a-1", events: 6, bytes: 1), Self.request("b-1", events: 5, bytes: 1),
      Self.request("c-1", events: 50, bytes: 1), Self.request("d-1", bytes: 700),
      Self.request("e-1", bytes: 700),
    ]
    for request in requests { queue.enqueue(request) }
    for request in requests {
      let next = try Self.batch(&queue)
      #expect(Self.isSame(next.requests, [request]))
    }
  }

  @Test("a further lane is used only when enough waits, the first one always")
  func furtherLane() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2, eventsForFurtherLane: 10))
    queue.enqueue(Self.request("a-1", events: 3))
    let first = try Self.batch(&queue)
    for number in 1...5 { queue.enqueue(Self.request(StreamName(trusted: "b-\(number)"))) }
    #expect(queue.takeBatch() == nil, "5 wait, fewer than twice 3")
    queue.enqueue(Self.request("c-1"))
    let second = try Self.batch(&queue)
    #expect(second.requests.count == 6 && second.lane != first.lane)
    queue.enqueue(Self.request("d-1"))
    #expect(queue.takeBatch() == nil, "all lanes are busy")
    queue.finish(first)
    #expect(queue.takeBatch() == nil, "one waits, six are under way")
    queue.finish(second)
    let third = try Self.batch(&queue)
    #expect(third.requests.count == 1)
    queue.finish(third)
    #expect(queue.isIdle)
  }

  @Test("an append that waits can be withdrawn, one under way cannot")
  func withdrawal() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 1))
    let (first, second, third) = (Self.request("a-1"), Self.request("a-1"), Self.request("a-1"))
    queue.enqueue(first)
    let batch = try Self.batch(&queue)
    queue.enqueue(second)
    queue.enqueue(third)
    let withdrawn = (queue.withdraw(first), queue.withdraw(second), queue.withdraw(second))
    #expect(withdrawn == (false, true, false))
    queue.finish(batch)
    let next = try Self.batch(&queue)
    #expect(Self.isSame(next.requests, [third]))
  }

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
    var done = 0
    var entered = 0

    func check(_ batch: AppendQueue.Batch) {
      #expect(!batch.requests.isEmpty)
      #expect(inFlight.allSatisfy { $0.lane != batch.lane } && inFlight.count < limits.lanes)
      let streams = batch.requests.flatMap(\.parts).map(\.stream)
      for other in inFlight.flatMap(\.requests).flatMap(\.parts) { #expect(!streams.contains(other.stream)) }
      if batch.requests.count > 1 {
        #expect(batch.requests.reduce(0) { $0 + $1.eventCount } <= limits.events)
        #expect(batch.requests.reduce(0) { $0 + $1.byteCount } <= limits.bytes)
      }
      for stream in Set(streams) {
        let sharing = batch.requests.filter { $0.parts.contains { $0.stream == stream } }
        #expect(sharing.count == 1 || sharing.allSatisfy(\.isFloating))
        // Each stream's appends leave in the order in which they came.
        let waiting = expected.filter { $0.parts.contains { $0.stream == stream } }
        #expect(Self.isSame(Array(waiting.prefix(sharing.count)), sharing))
      }
      expected.removeAll { request in batch.requests.contains { $0 === request } }
    }

    func step() {
      switch Int.random(in: 0..<10, using: &numbers) {
      case 0..<5 where entered < 400:
        let count = Int.random(in: 0..<4, using: &numbers) == 0 ? 2 : 1
        let streams = Set(
          (0..<count).map { _ in StreamName(trusted: "s-\(Int.random(in: 0..<6, using: &numbers))") })
        let floats = Bool.random(using: &numbers)
        let request = AppendRequest(
          streams.sorted().map {
            Self.part(
              $0, floats ? .any : .exact(1), events: Int.random(in: 1...5, using: &numbers), bytes: 50)
          })
        entered += 1
        queue.enqueue(request)
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
      default:
        guard !inFlight.isEmpty else { return }
        let batch = inFlight.remove(at: Int.random(in: 0..<inFlight.count, using: &numbers))
        queue.finish(batch)
        done += batch.requests.count
      }
    }

    for _ in 0..<1500 { step() }
    // Nothing is left behind.
    while done < entered {
      if let batch = queue.takeBatch() {
        check(batch)
        inFlight.append(batch)
      } else {
        let last = inFlight.popLast()
        let batch = try #require(last, "appends wait although all lanes are free")
        queue.finish(batch)
        done += batch.requests.count
      }
    }
    #expect(queue.isIdle && expected.isEmpty)
  }
}
