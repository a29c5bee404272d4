internal import DequeModule
internal import Synchronization

/// A lock that may be held across suspensions; who waits for it gets it in turn, also when it is cancelled.
final class AsyncLock: Sendable {
  private struct State {
    var isHeld = false
    var waiters: Deque<UnsafeContinuation<Void, Never>> = []
  }
  private let state = Mutex(State())

  func lock() async {
    await withUnsafeContinuation { continuation in
      let isFree = state.withLock { state in
        guard state.isHeld else {
          state.isHeld = true
          return true
        }
        state.waiters.append(continuation)
        return false
      }
      if isFree { continuation.resume() }
    }
  }

  func unlock() {
    let next = state.withLock { state in
      let next = state.waiters.popFirst()
      if next == nil { state.isHeld = false }
      return next
    }
    next?.resume()
  }
}
