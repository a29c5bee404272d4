internal import Synchronization

/// Wakes readers when something may have been appended. Only a hint: readers look for themselves as well.
package final class Hints: Sendable {
  private struct State {
    var count: UInt64 = 0
    var lastWaiter: UInt64 = 0
    var waiters: [UInt64: UnsafeContinuation<Void, Never>] = [:]
  }
  private let state = Mutex(State())

  package init() {}

  /// How many hints there were.
  package var count: UInt64 { state.withLock { $0.count } }

  package func hint() {
    let waiters = state.withLock { state in
      state.count += 1
      defer { state.waiters = [:] }
      return state.waiters
    }
    for waiter in waiters.values { waiter.resume() }
  }

  /// Returns at the first hint after the first `count`, after `duration`, or when the task is cancelled.
  package func wait(after count: UInt64, atMost duration: Duration) async {
    let id = state.withLock { state in
      state.lastWaiter += 1
      return state.lastWaiter
    }
    var timer: Task<Void, Never>?
    defer { timer?.cancel() }
    await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        let isOver = state.withLock { state in
          if state.count > count || Task.isCancelled { return true }
          state.waiters[id] = continuation
          return false
        }
        // Only now, or a short time would be over before there is anybody to wake.
        if isOver { continuation.resume() } else { timer = alarm(for: id, after: duration) }
      }
    } onCancel: {
      wake(id)
    }
  }

  private func alarm(for id: UInt64, after duration: Duration) -> Task<Void, Never> {
    Task {
      try? await Task.sleep(for: duration)
      wake(id)
    }
  }

  private func wake(_ id: UInt64) {
    state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
  }
}
