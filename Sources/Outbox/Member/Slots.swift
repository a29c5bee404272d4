internal import Synchronization

/// How many handlers run, and how many may: where that is found by itself.
final class Slots: Sendable {
  private struct State {
    var search: ConcurrencySearch
    var taken = 0
  }
  private let state: Mutex<State>

  init(_ range: ClosedRange<Int>) { state = Mutex(State(search: ConcurrencySearch(range))) }

  var limit: Int { state.withLock { $0.search.limit } }

  func take() -> Bool {
    state.withLock { state in
      guard state.taken < state.search.limit else { return false }
      state.taken += 1
      return true
    }
  }

  /// There was nothing for it to do.
  func putBack() { state.withLock { $0.taken -= 1 } }

  func ended(after nanoseconds: Int64, failed: Bool, now: Int64) {
    state.withLock { state in
      state.search.ended(after: nanoseconds, failed: failed, inFlight: state.taken, now: now)
      state.taken -= 1
    }
  }
}
