internal import Dispatch
internal import PostgreSQL
internal import Synchronization

/// A connection that is kept, used for one batch at a time, and the thread that waits for it.
final class Lane: Sendable {
  let lease = Mutex<ConnectionPool.Lease?>(nil)
  let thread = LaneThread()
  private let handed = Mutex<Departure?>(nil)
  private let isHanded = DispatchSemaphore(value: 0)

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
