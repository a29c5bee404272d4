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

  /// Ends a batch, and the wait for its callers where there is one.
  private static func finish(_ batch: AppendQueue.Batch, _ queue: inout AppendQueue) {
    if queue.finish(batch, after: .milliseconds(1)) != nil { queue.gathered() }
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
    Self.finish(batch, &queue)
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
    Self.finish(first, &queue)
    Self.finish(second, &queue)
    var lonely = 0
    for _ in 0..<1000 {
      let batch = try next("a-1")
      if batch.isAlone { lonely += 1 }
      Self.finish(batch, &queue)
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
    Self.finish(first, &queue)
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
    Self.finish(first, &queue)
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
    Self.finish(first, &queue)
    let afterwards = try Self.batch(&queue)
    #expect(Self.isSame(afterwards.requests, [both]))
    #expect(queue.takeBatch() == nil)
  }

  @Test("limits hold, except for a single append that is larger by itself")
  func limits() throws {
    var queue = AppendQueue(
      AppendQueue.Limits(lanes: 8, eventsForFurtherLane: 1, eventsForAnyLane: 1, events: 10, bytes: 1000)
    )
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

  @Test("few go together on one lane, many are divided evenly among lanes")
  func furtherLane() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2, eventsForFurtherLane: 10))
    func come(_ numbers: Range<Int>) {
      for number in numbers { queue.enqueue(Self.request(StreamName(trusted: "a-\(number)"))) }
    }
    come(0..<3)
    let first = try Self.batch(&queue)
    come(3..<19)
    #expect(queue.takeBatch() == nil, "19 at once are too few for two lanes")
    come(19..<20)
    let second = try Self.batch(&queue)
    #expect(second.requests.count == 10 && second.lane != first.lane)
    come(20..<40)
    #expect(queue.takeBatch() == nil, "all lanes are busy")
    Self.finish(first, &queue)
    let third = try Self.batch(&queue)
    #expect(third.requests.count == 20, "of 40 at once")
    Self.finish(second, &queue)
    #expect(queue.takeBatch() == nil, "7 wait, half of 40 is 20")
    Self.finish(third, &queue)
    let fourth = try Self.batch(&queue)
    #expect(fourth.requests.count == 7)
    Self.finish(fourth, &queue)
    #expect(queue.isIdle)
  }

  @Test("nobody waits for a batch that is overdue")
  func overdue() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2))
    for number in 0..<5 { queue.enqueue(Self.request(StreamName(trusted: "a-\(number)"))) }
    let first = try Self.batch(&queue)
    queue.enqueue(Self.request("b-1"))
    #expect(queue.takeBatch() == nil)
    queue.markOverdue(first)
    queue.markOverdue(first)
    let second = try Self.batch(&queue)
    #expect(second.requests.count == 1)
    Self.finish(second, &queue)
    queue.enqueue(Self.request("a-1"))
    #expect(queue.takeBatch() == nil, "its stream is under way")
    Self.finish(first, &queue)
    let third = try Self.batch(&queue)
    #expect(third.requests.count == 1)
    Self.finish(third, &queue)
    #expect(queue.isIdle)
  }

  @Test("a batch that was overdue ends while another lane waits for its callers: both lanes are free afterwards")
  func overdueAndGathering() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2))
    func come(_ category: String, _ count: Int) {
      for number in 0..<count { queue.enqueue(Self.request(StreamName(trusted: "\(category)-\(number)"))) }
    }
    come("a", 5)
    let first = try Self.batch(&queue)
    queue.markOverdue(first)
    come("b", 5)
    let second = try Self.batch(&queue)
    let pause = queue.finish(second, after: .milliseconds(1))
    #expect(pause != nil)
    let afterFirst = queue.finish(first, after: .seconds(1))
    #expect(afterFirst == nil)
    come("c", 5)
    #expect(queue.takeBatch() == nil, "a lane waits for its callers")
    queue.gathered()
    let third = try Self.batch(&queue)
    queue.markOverdue(third)
    come("d", 5)
    let fourth = try Self.batch(&queue)
    #expect(fourth.lane != third.lane)
  }

  @Test("how many there were at once is forgotten after a while")
  func mostOfLate() {
    var most = MostOfLate()
    most.see(100)
    var batches = 0
    while most.most == 100, batches < 1000 {
      batches += 1
      most.see(3)
      most.next()
    }
    #expect((8...16).contains(batches) && most.most == 3)
  }

  @Test("where few wait, a lane gives its callers a moment to come back, and all go together")
  func gathering() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2))
    func come(_ numbers: Range<Int>) -> [Int?] {
      numbers.map { queue.enqueue(Self.request(StreamName(trusted: "a-\($0)"))) }
    }
    _ = come(0..<10)
    let first = try Self.batch(&queue)
    _ = come(10..<12)
    let pause = queue.finish(first, after: .microseconds(400))
    #expect(pause == .microseconds(200) && !queue.hasGathered)
    // Of the other lane, too: it would take what is waited for.
    let early = queue.takeBatch()
    #expect(early == nil)
    let woken = come(12..<22)
    #expect(woken.dropLast().allSatisfy { $0 == nil } && woken.last == first.lane && queue.hasGathered)
    let late = come(22..<23)
    #expect(late == [nil], "it is woken once")
    queue.gathered()
    let second = try Self.batch(&queue)
    #expect(second.requests.count == 13)

    // With others under way, or with enough that wait, it does not.
    _ = come(23..<59)
    let third = try Self.batch(&queue)
    #expect(third.requests.count == 25)
    let afterSecond = queue.finish(second, after: .seconds(1))
    _ = come(59..<80)
    let afterThird = queue.finish(third, after: .seconds(1))
    #expect(afterSecond == nil && afterThird == nil)
    let fourth = try Self.batch(&queue)
    #expect(fourth.requests.count == 29)
  }

  @Test("callers who do not come back are soon not waited for, and tried again now and then")
  func strangers() {
    var returning = ReturningCallers()
    var waits = 0
    for _ in 0..<1000 {
      let expected = returning.worthWaitingFor(of: 8, besides: 2, upTo: 16)
      if expected > 0 {
        waits += 1
        returning.waited(for: expected, of: 8, returned: 0)
      }
    }
    #expect((10...40).contains(waits))
    // They do now.
    var last = 0
    for _ in 0..<1000 {
      last = returning.worthWaitingFor(of: 8, besides: 2, upTo: 16)
      if last > 0 { returning.waited(for: last, of: 8, returned: last) }
    }
    #expect(last == 8)
  }

  @Test("of callers of whom one is slow, the others are waited for")
  func slowCaller() {
    var returning = ReturningCallers()
    var inTime = 0
    for _ in 0..<1000 {
      let expected = returning.worthWaitingFor(of: 8, besides: 0, upTo: 16)
      if expected <= 7 { inTime += 1 }
      returning.waited(for: expected, of: 8, returned: min(expected, 7))
    }
    #expect(inTime > 800)
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
    Self.finish(batch, &queue)
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
            Self.part(
              $0, floats ? .any : .exact(1), events: Int.random(in: 1...5, using: &numbers), bytes: 50)
          })
        entered += 1
        if let woken = queue.enqueue(request) { #expect(woken == gathering && queue.hasGathered) }
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
      case 8 where gathering != nil:
        queue.gathered()
        gathering = nil
      default:
        guard !inFlight.isEmpty else { return }
        let batch = inFlight.remove(at: Int.random(in: 0..<inFlight.count, using: &numbers))
        finish(batch)
      }
    }

    func finish(_ batch: AppendQueue.Batch) {
      overdue.remove(batch.lane)
      if let pause = queue.finish(batch, after: .milliseconds(20)) {
        #expect(pause == .milliseconds(1) && gathering == nil && inFlight.allSatisfy { overdue.contains($0.lane) })
        gathering = batch.lane
      }
      done += batch.requests.count
    }

    for _ in 0..<1500 { step() }
    // Nothing is left behind.
    while done < entered {
      if gathering != nil {
        queue.gathered()
        gathering = nil
      } else if let batch = queue.takeBatch() {
        check(batch)
        inFlight.append(batch)
      } else {
        let last = inFlight.popLast()
        finish(try #require(last, "appends wait although all lanes are free"))
      }
    }
    #expect(queue.isIdle && expected.isEmpty)
  }
}
