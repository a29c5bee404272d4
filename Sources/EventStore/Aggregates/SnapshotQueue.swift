internal import Synchronization

/// Snapshots that wait for the background service. Bounded: one that finds no room is made again at a later load.
final class SnapshotQueue: Sendable {
  private static let room = 1000

  private struct State {
    var wake: AsyncStream<Void>.Continuation?
    /// The newest of each stream.
    var waiting: [StreamName: (version: Int, save: @Sendable () async -> Void)] = [:]
  }
  private let state = Mutex(State())

  /// - Returns: `false` when no service runs: the caller makes it itself.
  func add(_ stream: StreamName, version: Int, _ save: @escaping @Sendable () async -> Void) -> Bool {
    state.withLock { state in
      guard let wake = state.wake else { return false }
      if let other = state.waiting[stream] {
        if other.version < version { state.waiting[stream] = (version, save) }
      } else if state.waiting.count < Self.room {
        state.waiting[stream] = (version, save)
      }
      wake.yield()
      return true
    }
  }

  /// Opens the queue: yields whenever something waits.
  func open() -> AsyncStream<Void> {
    let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    state.withLock { $0.wake = continuation }
    return stream
  }

  func close() {
    state.withLock { state in
      state.wake?.finish()
      state.wake = nil
    }
  }

  func take() -> [@Sendable () async -> Void] {
    state.withLock { state in
      defer { state.waiting = [:] }
      return state.waiting.values.map(\.save)
    }
  }
}
