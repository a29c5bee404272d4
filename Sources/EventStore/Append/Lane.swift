internal import Dispatch
internal import PostgreSQL
internal import Synchronization

/// A connection that is used for one batch at a time, and the thread that waits for it. While no batch goes, the connection
/// is kept, but others may have it who would wait for one.
final class Lane: Sendable {
  private struct State {
    var lease: ConnectionPool.Lease?
    /// The one that goes, and the next while that is ended.
    var batches = 0
  }

  private let state = Mutex(State())
  let thread = LaneThread()
  private let handed = Mutex<Departure?>(nil)
  private let isHanded = DispatchSemaphore(value: 0)

  /// Its connection, where it has one that works.
  var connection: Connection? {
    guard let connection = state.withLock({ $0.lease?.connection }), connection.failure == nil else { return nil }
    return connection
  }

  func use(_ lease: ConnectionPool.Lease?) { state.withLock { $0.lease = lease } }

  /// A lane that takes over its connection, and what is under way there.
  func split() -> Lane {
    let lane = Lane()
    lane.use(state.withLock { $0.lease.take() })
    return lane
  }

  /// A batch goes, and needs the connection; until ``end()``. The next may begin before.
  func begin() {
    state.withLock { state in
      if state.batches == 0, state.lease?.keep() == false { state.lease = nil }
      state.batches += 1
    }
  }

  func end() {
    state.withLock { state in
      state.batches -= 1
      if state.batches == 0 { state.lease?.offer() }
    }
  }

  /// Gives the lane's thread, which waits for it, what goes next; `nil`: nothing.
  func hand(_ departure: Departure?) {
    handed.withLock { $0 = departure }
    isHanded.signal()
  }

  /// Holds the calling task's thread, which is the lane's, until it is handed what goes next; see ``takeHanded()``.
  ///
  /// - Returns: `false` where `limit` was not enough.
  func waitToBeHanded(for limit: Duration? = nil) -> Bool {
    let end = limit.map { DispatchTime.now() + .nanoseconds(Int($0 / .nanoseconds(1))) } ?? .distantFuture
    return isHanded.wait(timeout: end) == .success
  }

  func takeHanded() -> Departure? { handed.withLock { $0.take() } }
}

/// A batch that goes on its lane.
struct Departure: Sendable {
  let batch: AppendQueue.Batch
  /// Where it was sent already.
  var call: AppendCall?
  let time = ContinuousClock.now

  init(_ batch: AppendQueue.Batch) { self.batch = batch }
}
