internal import DequeModule
internal import Synchronization

/// Wakes one of those who wait, each time that it is fired. Who is woken and finds more than he can do fires it again.
final class Signal: Sendable {
  private struct State {
    var count: UInt64 = 0
    var lastWaiter: UInt64 = 0
    var waiters: Deque<(id: UInt64, continuation: UnsafeContinuation<Void, Never>)> = []
    var isOver = false
  }
  private let state = Mutex(State())

  var count: UInt64 { state.withLock { $0.count } }

  func fire() {
    let waiter = state.withLock { state in
      state.count += 1
      return state.waiters.popFirst()
    }
    waiter?.continuation.resume()
  }

  /// Wakes everyone, from now on.
  func end() {
    let waiters = state.withLock { state in
      state.count += 1
      state.isOver = true
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.continuation.resume() }
  }

  /// Returns also after a time.
  func wait(after count: UInt64, atMost duration: Duration) async {
    await withTaskGroup { tasks in
      tasks.addTask { await self.wait(after: count) }
      tasks.addTask { try? await Task.sleep(for: duration) }
      await tasks.next()
      tasks.cancelAll()
    }
  }

  /// Returns when it was fired after the first `count` times, or when the task is cancelled.
  func wait(after count: UInt64) async {
    let id = state.withLock { state in
      state.lastWaiter += 1
      return state.lastWaiter
    }
    await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        let isOver = state.withLock { state in
          if state.count > count || state.isOver || Task.isCancelled { return true }
          state.waiters.append((id, continuation))
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      let continuation = state.withLock { state in
        state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0).continuation }
      }
      continuation?.resume()
    }
  }
}
