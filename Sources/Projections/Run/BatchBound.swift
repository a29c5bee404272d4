internal import PostgreSQL
internal import Synchronization

/// How many events are applied in one transaction: fewer, after one took longer than it may. Shared by those who apply the
/// parts of a build.
final class BatchBound: Sendable {
  private struct State {
    var value: Int
    /// One after the other.
    var successes = 0
    /// So many of them, until more is tried.
    var trust = 10
  }
  private let most: Int
  private let state: Mutex<State>

  init(most: Int) {
    self.most = most
    state = Mutex(State(value: most))
  }

  var value: Int { state.withLock { $0.value } }

  func tookTooLong(_ events: Int) {
    state.withLock { state in
      state.value = max(1, min(state.value, events) / 2)
      state.successes = 0
      // What is tried in vain costs as long as a statement may take: less and less often.
      state.trust = min(state.trust * 2, 10_000)
    }
  }

  func succeeded() {
    state.withLock { state in
      guard state.value < most else { return }
      state.successes += 1
      guard state.successes >= state.trust else { return }
      state.successes = 0
      state.value = min(state.value * 2, most)
    }
  }
}

/// A transaction in which events were applied took longer than it, or a statement of it, may.
struct TookTooLong: Error, CustomStringConvertible {
  let events: Int
  /// The first of them; stopped at where it is the only one.
  let failure: ProjectionFailure
  var description: String { "\(events) events at once: \(failure.problem)" }
}
