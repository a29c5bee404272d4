internal import DequeModule

/// Which appends travel together, and when: the pure part of the appender, without I/O.
///
/// The fewer batches, the less an event costs: so all that come at about the same time go together, on one lane, which
/// gives callers whom it has told a moment to come back. From ``Limits/eventsForFurtherLane`` on they are divided among
/// lanes, evenly: one works while another waits for the disk. A stream is in one lane at a time, so that this process
/// never waits for itself in the database, and keeps the order in which its appends came. In a batch a stream has one
/// append, or several that expect any version.
struct AppendQueue {
  struct Limits: Sendable {
    /// Connections that append at the same time.
    var lanes = 2
    /// A further lane is used where each then has so many of the events that wait or are under way at once.
    var eventsForFurtherLane = 24
    /// So many events do not wait for others, whatever is under way.
    var eventsForAnyLane = 128
    /// Events in one call, unless a single append has more.
    var events = 1000
    /// Bytes in one call, unless a single append has more.
    var bytes = 512 * 1024
  }

  struct Batch: Sendable {
    let lane: Int
    let requests: [AppendRequest]
    let events: Int
    /// Whether nothing else was under way when it went.
    let isOnlyOne: Bool
    /// Whether its caller is alone, and has been for a while: then it may wait for the server on its own thread.
    let isAlone: Bool
  }

  /// A lane that waits for callers to come back. No other lane takes their appends meanwhile.
  private struct Gathering {
    let lane: Int
    /// Events that waited already.
    let waiting: Int
    /// Events of those who were told.
    let told: Int
    let expected: Int
  }

  private let limits: Limits
  /// Nothing is taken in any more.
  var isClosed = false
  private var waiting: Deque<AppendRequest> = []
  /// Those that wait for a stream that is kept by one which goes on by itself, or for one that is here: they count as
  /// little as it does. All that share a stream with one of ``waiting`` came before that.
  private var parked: Deque<AppendRequest> = []
  private var parkedStreams: Set<Int> = []
  /// Of those that go on by themselves; by their keys.
  private var keptStreams: Set<Int> = []
  private var freeLanes: [Int]
  /// By their keys.
  private var streamsInFlight: Set<Int> = []
  private var eventsWaiting = 0
  private var eventsInFlight = 0
  private var gathering: Gathering?
  private var returning = ReturningCallers()
  private var eventsAtOnce = MostOfLate()
  /// Nobody is to wait for their batches: see ``markOverdue(_:)``.
  private var overdueLanes: Set<Int> = []
  /// Batches until a caller counts as alone.
  private var company = 0
  private static let companyAfterMeeting = 256
  private static let companyAfterWaiting = 16

  init(_ limits: Limits) {
    self.limits = limits
    freeLanes = Array((0..<max(1, limits.lanes)).reversed())
  }

  var isIdle: Bool { waiting.isEmpty && parked.isEmpty && streamsInFlight.isEmpty }

  /// - Returns: A lane that waited for callers, of whom this was the last. It is free now.
  @discardableResult
  mutating func enqueue(_ request: AppendRequest) -> Int? {
    if eventsInFlight > 0 || !waiting.isEmpty { company = Self.companyAfterMeeting }
    waiting.append(request)
    eventsWaiting += request.eventCount
    eventsAtOnce.see(eventsWaiting + eventsInFlight)
    guard let gathering, eventsWaiting >= gathering.waiting + gathering.expected else { return nil }
    endGathering(of: gathering.lane)
    return gathering.lane
  }

  /// The caller who was alone has waited in vain: for some batches nobody counts as alone.
  mutating func waitedInVain() { company = max(company, Self.companyAfterWaiting) }

  /// Takes a request out again; `false` when it is under way already. Others may have waited for it: something may be able
  /// to go now.
  mutating func withdraw(_ request: AppendRequest) -> Bool {
    if let index = parked.firstIndex(where: { $0 === request }) {
      if request.parts.count == 1 {
        // Whatever waits for its stream waits for what it waited for.
        parked.remove(at: index)
        return true
      }
      unpark()
    }
    guard let index = waiting.firstIndex(where: { $0 === request }) else { return false }
    waiting.remove(at: index)
    eventsWaiting -= request.eventCount
    return true
  }

  /// The next batch, if a lane is free and something can go.
  mutating func takeBatch() -> Batch? {
    guard gathering == nil, eventsWaiting > 0, let lane = freeLanes.last else { return nil }
    let share = eventsALane
    // A single event under way is no company: for two callers, two lanes are faster than taking turns.
    guard eventsInFlight <= 1 || eventsWaiting >= min(share, limits.eventsForAnyLane) else { return nil }
    let most = min(share, limits.events)
    var taken: [AppendRequest] = []
    taken.reserveCapacity(min(waiting.count, most))
    var left: Deque<AppendRequest> = []
    /// Streams of this batch that further floating appends may join.
    var floating: Set<Int> = []
    /// Streams with an append that must wait: later ones must not overtake it.
    var held: Set<Int> = []
    var events = 0
    var bytes = 0
    while let request = waiting.popFirst() {
      if isToPark(request, behind: held) {
        parked.append(request)
        for part in request.parts { parkedStreams.insert(part.streamKey) }
        eventsWaiting -= request.eventCount
        continue
      }
      let fits =
        taken.isEmpty || (events + request.eventCount <= most && bytes + request.byteCount <= limits.bytes)
      guard fits, claim(request, &floating, held) else {
        left.append(request)
        for part in request.parts { held.insert(part.streamKey) }
        if !fits { break }
        continue
      }
      taken.append(request)
      events += request.eventCount
      bytes += request.byteCount
    }
    // Nearly always nothing is: then the queue keeps its memory.
    if !left.isEmpty {
      left.append(contentsOf: waiting)
      waiting = left
    }
    guard !taken.isEmpty else { return nil }
    let isOnlyOne = eventsInFlight == 0
    freeLanes.removeLast()
    eventsWaiting -= events
    eventsInFlight += events
    company = max(0, company - 1)
    eventsAtOnce.next(from: eventsWaiting + eventsInFlight)
    return Batch(lane: lane, requests: taken, events: events, isOnlyOne: isOnlyOne, isAlone: company == 0)
  }

  /// Of the events that wait or are under way at once, what each lane has that is worth using.
  private var eventsALane: Int {
    let lanes = max(1, min(eventsAtOnce.most / limits.eventsForFurtherLane, limits.lanes))
    return (eventsAtOnce.most + lanes - 1) / lanes
  }

  /// A batch takes long: a lock, a connection that was lost, a conflict that has to be looked into. From now on others do
  /// not wait for it.
  mutating func markOverdue(_ batch: Batch) {
    if overdueLanes.insert(batch.lane).inserted { eventsInFlight -= batch.events }
  }

  /// - Parameter held: The streams of those that came before it and go on waiting.
  private func isToPark(_ request: AppendRequest, behind held: Set<Int>) -> Bool {
    guard !keptStreams.isEmpty else { return false }
    return request.parts.contains { keptStreams.contains($0.streamKey) || parkedStreams.contains($0.streamKey) }
      && !request.parts.contains { held.contains($0.streamKey) }
  }

  private mutating func unpark() {
    guard !parked.isEmpty else { return }
    eventsWaiting += parked.reduce(0) { $0 + $1.eventCount }
    parked.append(contentsOf: waiting)
    waiting = parked
    parked = []
    parkedStreams = []
  }

  /// Takes the streams of a request for a batch, if all are free.
  private mutating func claim(_ request: AppendRequest, _ floating: inout Set<Int>, _ held: Set<Int>) -> Bool {
    if request.parts.count == 1 {
      let stream = request.parts[0].streamKey
      guard !held.contains(stream) else { return false }
      if streamsInFlight.insert(stream).inserted {
        if request.isFloating { floating.insert(stream) }
        return true
      }
      return request.isFloating && floating.contains(stream)
    }
    guard request.parts.allSatisfy({ !held.contains($0.streamKey) && !streamsInFlight.contains($0.streamKey) }) else {
      return false
    }
    for part in request.parts { streamsInFlight.insert(part.streamKey) }
    return true
  }

  /// Frees the lane and the streams of a batch, whose callers are to be told now.
  ///
  /// - Parameters:
  ///   - duration: How long it took.
  ///   - held: Those of its requests that go on by themselves: they keep their streams until ``release(_:)``.
  /// - Returns: How long the lane is to wait, at most, for callers to come back; then ``endGathering(of:)`` frees it. `nil`:
  ///   it is free.
  mutating func finish(_ batch: Batch, after duration: Duration, except held: [AppendRequest] = []) -> Duration? {
    let told = batch.events
    // One stream may be in several.
    for request in batch.requests { free(request) }
    for request in held {
      for part in request.parts {
        streamsInFlight.insert(part.streamKey)
        keptStreams.insert(part.streamKey)
      }
    }
    if overdueLanes.remove(batch.lane) == nil { eventsInFlight -= told }
    // With others under way the lane waits for enough anyway. Who is alone drives no lane that could wait.
    if eventsInFlight == 0, gathering == nil, !batch.isAlone {
      let expected = returning.worthWaitingFor(of: told, besides: eventsWaiting, upTo: eventsALane)
      if expected > 0 {
        gathering = Gathering(lane: batch.lane, waiting: eventsWaiting, told: told, expected: expected)
        return min(duration / 2, Self.longestGathering)
      }
    }
    freeLanes.append(batch.lane)
    return nil
  }

  /// Frees the streams of a request that went on by itself.
  mutating func release(_ request: AppendRequest) {
    free(request)
    for part in request.parts { keptStreams.remove(part.streamKey) }
    unpark()
  }

  private mutating func free(_ request: AppendRequest) {
    for part in request.parts { streamsInFlight.remove(part.streamKey) }
  }

  private static let longestGathering = Duration.milliseconds(1)

  /// A lane that waited for callers waits no longer.
  ///
  /// - Returns: `false` where the last of them had come already. (Another lane may wait since then.)
  @discardableResult
  mutating func endGathering(of lane: Int) -> Bool {
    guard let gathering, gathering.lane == lane else { return false }
    returning.waited(
      for: gathering.expected, of: gathering.told, returned: max(0, eventsWaiting - gathering.waiting))
    freeLanes.append(gathering.lane)
    self.gathering = nil
    return true
  }
}
