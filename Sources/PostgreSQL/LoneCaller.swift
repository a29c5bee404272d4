internal import Synchronization

/// Whether the caller of a statement is the only one in this process who waits for PostgreSQL, and has been for a while.
/// Then he may wait on his own thread: it belongs to the pool that all tasks share, but the way through the reactor wakes
/// two threads more, which takes as long as a short statement.
enum LoneCaller {
  /// Connections on which something is under way.
  private static let busyConnections = Atomic<Int>(0)
  /// Calls until a caller counts as alone.
  private static let company = Atomic<Int>(0)
  private static let companyAfterMeeting = 256
  private static let companyAfterWaiting = 16

  /// So long he waits, and a tick of the reactor more. Where that is too short, the next callers do not even try.
  static let patience = Duration.milliseconds(1)

  static func connectionBecameBusy() { busyConnections.wrappingAdd(1, ordering: .relaxed) }
  static func connectionBecameIdle() { busyConnections.wrappingSubtract(1, ordering: .relaxed) }

  /// To be asked with one's own statement under way.
  static var isAlone: Bool {
    if busyConnections.load(ordering: .relaxed) > 1 {
      company.store(companyAfterMeeting, ordering: .relaxed)
      return false
    }
    let left = company.load(ordering: .relaxed)
    // Two who count at once count one too few: no matter.
    if left > 0 { company.store(left - 1, ordering: .relaxed) }
    return left == 0
  }

  static func waitedInVain() { company.max(companyAfterWaiting, ordering: .relaxed) }
}
