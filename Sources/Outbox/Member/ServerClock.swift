internal import FoundationEssentials
internal import Synchronization

/// What the server's clock says, without asking it: events carry its times, and this machine's clock may be wrong, or jump.
final class ServerClock: Sendable {
  private struct State {
    var date = Date.now
    var at = CursorRun.now
  }
  private let state = Mutex(State())

  /// - Parameters:
  ///   - before: When it was asked, by the monotonic clock …
  ///   - after: … and when the answer was there.
  func set(_ date: Date, between before: Int64, and after: Int64) {
    state.withLock { $0 = State(date: date, at: (before + after) / 2) }
  }

  var now: Date {
    state.withLock { $0.date.addingTimeInterval(Double(CursorRun.now - $0.at) / 1e9) }
  }
}
