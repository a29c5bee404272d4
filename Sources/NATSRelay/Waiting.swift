#if NATS
  internal import CNATS
  internal import Synchronization

  /// Those who wait for a confirmation, by the message that they have sent.
  final class Waiting: Sendable {
    typealias Continuation = CheckedContinuation<Confirmation, any Error>
    private struct State {
      var continuations: [UInt: (continuation: Continuation, until: ContinuousClock.Instant)] = [:]
      var isClosed = false
      var isWatched = false
    }
    private let state = Mutex(State())
    private let patience: Duration

    /// - Parameter patience: Longer than the library waits itself: for answers that it forgets.
    init(patience: Duration) { self.patience = patience }

    static func from(_ pointer: UnsafeMutableRawPointer) -> Waiting {
      Unmanaged<Waiting>.fromOpaque(pointer).takeUnretainedValue()
    }

    var isClosed: Bool { state.withLock { $0.isClosed } }

    func add(_ message: OpaquePointer, _ continuation: Continuation) {
      let (isClosed, startsWatch) = state.withLock { state in
        if state.isClosed { return (true, false) }
        state.continuations[UInt(bitPattern: message)] = (continuation, .now + patience)
        defer { state.isWatched = true }
        return (false, !state.isWatched)
      }
      if isClosed { continuation.resume(returning: .refused(NATS_CONNECTION_CLOSED)) }
      if startsWatch { Task { await self.watch() } }
    }

    func take(_ message: OpaquePointer) -> Continuation? {
      state.withLock { $0.continuations.removeValue(forKey: UInt(bitPattern: message))?.continuation }
    }

    /// The library answers nobody any more.
    func close() {
      let all = state.withLock { state in
        state.isClosed = true
        defer { state.continuations = [:] }
        return state.continuations.values
      }
      for one in all { one.continuation.resume(returning: .refused(NATS_CONNECTION_CLOSED)) }
    }

    /// As long as someone waits.
    private func watch() async {
      while true {
        try? await Task.sleep(for: .seconds(1))
        let late: [Continuation]? = state.withLock { state in
          guard !state.continuations.isEmpty else {
            state.isWatched = false
            return nil
          }
          let now = ContinuousClock.now
          let late = state.continuations.filter { $0.value.until < now }
          for key in late.keys { state.continuations[key] = nil }
          return late.values.map(\.continuation)
        }
        guard let late else { return }
        for continuation in late { continuation.resume(returning: .refused(NATS_TIMEOUT)) }
      }
    }
  }
#endif
