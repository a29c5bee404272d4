import TestSupport
import Testing

@testable import EventStore

@Suite("The queue of appends")
struct AppendQueueTests {
  /// The next batch, where there must be one.
  private static func batch(_ queue: inout AppendQueue) throws -> AppendQueue.Batch {
    let batch = queue.takeBatch()
    return try #require(batch)
  }

  /// Ends a batch, and the wait for its callers where there is one.
  private static func finish(_ batch: AppendQueue.Batch, _ queue: inout AppendQueue) {
    if queue.finish(batch, after: .milliseconds(1)) != nil { queue.endGathering(of: batch.lane) }
  }

  @Test("a lone append goes at once")
  func lone() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 1))
    #expect(queue.isIdle && queue.takeBatch() == nil)
    let request = AppendSamples.request("a-1")
    queue.enqueue(request)
    let batch = try Self.batch(&queue)
    #expect(AppendSamples.isSame(batch.requests, [request]))
    #expect(!queue.isIdle)
    Self.finish(batch, &queue)
    #expect(queue.isIdle)
  }

  @Test("a caller counts as alone until it meets another, and again after a while")
  func alone() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2))
    func next(_ stream: StreamName) throws -> AppendQueue.Batch {
      queue.enqueue(AppendSamples.request(stream))
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
    queue.enqueue(AppendSamples.request("a-0"))
    let first = try Self.batch(&queue)
    let waiting = (1...20).map { AppendSamples.request(StreamName(trusted: "a-\($0)"), .exact(3)) }
    for request in waiting { queue.enqueue(request) }
    #expect(queue.takeBatch() == nil)
    Self.finish(first, &queue)
    let next = try Self.batch(&queue)
    #expect(AppendSamples.isSame(next.requests, waiting))
  }

  @Test("appends of exact versions to one stream go one after the other, those of any version together")
  func sameStream() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 4))
    let exact = [AppendSamples.request("a-1", .exact(1)), AppendSamples.request("a-1", .exact(2))]
    let floating = [AppendSamples.request("b-1"), AppendSamples.request("b-1")]
    for request in exact + floating { queue.enqueue(request) }
    let first = try Self.batch(&queue)
    #expect(AppendSamples.isSame(first.requests, [exact[0]] + floating))
    #expect(queue.takeBatch() == nil, "its stream is in flight")
    Self.finish(first, &queue)
    let next = try Self.batch(&queue)
    #expect(AppendSamples.isSame(next.requests, [exact[1]]))
  }

  @Test("a held append is not overtaken on any of its streams")
  func noOvertaking() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 4))
    queue.enqueue(AppendSamples.request("a-1", .exact(1)))
    let first = try Self.batch(&queue)
    let both = AppendRequest([AppendSamples.part("a-1"), AppendSamples.part("b-1")])
    let later = AppendSamples.request("b-1")
    let other = AppendSamples.request("c-1")
    for request in [both, later, other] { queue.enqueue(request) }
    let next = try Self.batch(&queue)
    #expect(AppendSamples.isSame(next.requests, [other]))
    Self.finish(first, &queue)
    let afterwards = try Self.batch(&queue)
    #expect(AppendSamples.isSame(afterwards.requests, [both]))
    #expect(queue.takeBatch() == nil)
  }

  @Test("those that wait for a kept stream count as little as what keeps it")
  func kept() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2))
    let keeping = AppendSamples.request("a-1", .exact(1))
    queue.enqueue(keeping)
    let pause = queue.finish(try Self.batch(&queue), after: .milliseconds(200), except: [keeping])
    #expect(pause == nil)
    let behind = (0..<200).map { _ in AppendSamples.request("a-1", .exact(1)) }
    for request in behind { queue.enqueue(request) }
    let both = AppendRequest([AppendSamples.part("a-1"), AppendSamples.part("b-1")])
    let afterBoth = AppendSamples.request("b-1")
    for request in [both, afterBoth] { queue.enqueue(request) }
    #expect(queue.takeBatch() == nil)
    // Two under way are company: a third waits for them, whatever waits for the kept stream.
    for name in ["c-1", "c-2"] { queue.enqueue(AppendSamples.request(StreamName(trusted: name))) }
    let two = try Self.batch(&queue)
    #expect(two.requests.count == 2)
    let third = AppendSamples.request("c-3")
    queue.enqueue(third)
    #expect(queue.takeBatch() == nil)
    Self.finish(two, &queue)
    let next = try Self.batch(&queue)
    #expect(AppendSamples.isSame(next.requests, [third]))
    Self.finish(next, &queue)
    // What waits only behind one that gives up can go then.
    let isOut = queue.withdraw(both)
    let free = try Self.batch(&queue)
    #expect(isOut && AppendSamples.isSame(free.requests, [afterBoth]))
    Self.finish(free, &queue)
    queue.release(keeping)
    let last = try Self.batch(&queue)
    #expect(AppendSamples.isSame(last.requests, [behind[0]]) && !queue.isIdle)
  }

  @Test("limits hold, except for a single append that is larger by itself")
  func limits() throws {
    var queue = AppendQueue(
      AppendQueue.Limits(lanes: 8, eventsForFurtherLane: 1, eventsForAnyLane: 1, events: 10, bytes: 1000)
    )
    let requests = [
      AppendSamples.request("a-1", events: 6, bytes: 1), AppendSamples.request("b-1", events: 5, bytes: 1),
      AppendSamples.request("c-1", events: 50, bytes: 1), AppendSamples.request("d-1", bytes: 700),
      AppendSamples.request("e-1", bytes: 700),
    ]
    for request in requests { queue.enqueue(request) }
    for request in requests {
      let next = try Self.batch(&queue)
      #expect(AppendSamples.isSame(next.requests, [request]))
    }
  }

  @Test("few go together on one lane, many are divided evenly among lanes")
  func furtherLane() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2, eventsForFurtherLane: 10))
    func come(_ numbers: Range<Int>) {
      for number in numbers { queue.enqueue(AppendSamples.request(StreamName(trusted: "a-\(number)"))) }
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
    for number in 0..<5 { queue.enqueue(AppendSamples.request(StreamName(trusted: "a-\(number)"))) }
    let first = try Self.batch(&queue)
    queue.enqueue(AppendSamples.request("b-1"))
    #expect(queue.takeBatch() == nil)
    queue.markOverdue(first)
    queue.markOverdue(first)
    let second = try Self.batch(&queue)
    #expect(second.requests.count == 1)
    Self.finish(second, &queue)
    queue.enqueue(AppendSamples.request("a-1"))
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
      for number in 0..<count { queue.enqueue(AppendSamples.request(StreamName(trusted: "\(category)-\(number)"))) }
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
    come("c", 4)
    #expect(queue.takeBatch() == nil, "a lane waits for its callers")
    queue.endGathering(of: second.lane)
    let third = try Self.batch(&queue)
    queue.markOverdue(third)
    come("d", 5)
    let fourth = try Self.batch(&queue)
    #expect(fourth.lane != third.lane)
  }

  @Test("a lane whose callers have come, though nothing can go, does not end another lane's wait")
  func gatheringOfAnother() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2))
    let held: [StreamName] = ["a-0", "a-1", "a-2"]
    for stream in held { queue.enqueue(AppendSamples.request(stream, .exact(1))) }
    let overdue = try Self.batch(&queue)
    queue.markOverdue(overdue)
    for stream in ["b-0", "b-1"] as [StreamName] { queue.enqueue(AppendSamples.request(stream)) }
    let other = try Self.batch(&queue)
    let pause = queue.finish(other, after: .milliseconds(1))
    #expect(pause != nil)
    let lanes = held.prefix(2).map { queue.enqueue(AppendSamples.request($0, .exact(2))) }
    #expect(lanes == [nil, other.lane])
    let early = queue.takeBatch()
    #expect(early == nil, "all are for streams that are in the overdue batch")
    let pauseOfOverdue = queue.finish(overdue, after: .milliseconds(200))
    #expect(pauseOfOverdue != nil)
    let ended = [other, overdue].map { queue.endGathering(of: $0.lane) }
    #expect(ended == [false, true])
    let last = try Self.batch(&queue)
    #expect(last.requests.count == 2)
  }

  @Test("where few wait, a lane gives its callers a moment to come back, and all go together")
  func gathering() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 2))
    func come(_ numbers: Range<Int>) -> [Int?] {
      numbers.map { queue.enqueue(AppendSamples.request(StreamName(trusted: "a-\($0)"))) }
    }
    _ = come(0..<10)
    let first = try Self.batch(&queue)
    _ = come(10..<12)
    let pause = queue.finish(first, after: .microseconds(400))
    #expect(pause == .microseconds(200))
    // Of the other lane, too: it would take what is waited for.
    let early = queue.takeBatch()
    #expect(early == nil)
    let lanes = come(12..<22)
    #expect(lanes.dropLast().allSatisfy { $0 == nil } && lanes.last == first.lane)
    let late = come(22..<23)
    let mayEnd = queue.endGathering(of: first.lane)
    #expect(late == [nil] && !mayEnd, "the last of them has ended it")
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

  @Test("an append that waits can be withdrawn, one under way cannot")
  func withdrawal() throws {
    var queue = AppendQueue(AppendQueue.Limits(lanes: 1))
    let (first, second, third) = (
      AppendSamples.request("a-1"), AppendSamples.request("a-1"), AppendSamples.request("a-1")
    )
    queue.enqueue(first)
    let batch = try Self.batch(&queue)
    queue.enqueue(second)
    queue.enqueue(third)
    let withdrawn = (queue.withdraw(first), queue.withdraw(second), queue.withdraw(second))
    #expect(withdrawn == (false, true, false))
    Self.finish(batch, &queue)
    let next = try Self.batch(&queue)
    #expect(AppendSamples.isSame(next.requests, [third]))
  }
}
