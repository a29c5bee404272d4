internal import FoundationEssentials
internal import Synchronization

/// One caller's append, on its way through the queue. The caller waits for its ``outcome()``.
final class AppendRequest: Sendable {
  /// One verdict a part: a slice of the batch's, which nobody copies.
  typealias Outcome = Result<ArraySlice<Verdict>, AppendError>

  private enum State {
    case open
    case awaited(UnsafeContinuation<Outcome, Never>)
    case settled(Outcome)
  }

  let parts: [SealedAppend]
  /// What was sealed.
  let appends: [StreamAppend]
  /// The last of the connections on which it may be sent as it was sealed: see ``Sealer``.
  let newestConnection: UInt64
  let eventCount: Int
  let byteCount: Int
  let since = ContinuousClock.now
  private let state = Mutex(State.open)

  private enum Cancellation {
    case none
    case handler(@Sendable () -> Void)
    case requested
  }

  private let cancellation = Mutex(Cancellation.none)

  init(_ parts: [SealedAppend], of appends: [StreamAppend] = [], upTo newestConnection: UInt64 = .max) {
    self.parts = parts
    self.appends = appends
    self.newestConnection = newestConnection
    eventCount = parts.reduce(0) { $0 + $1.events.count }
    byteCount = parts.reduce(0) { $0 + $1.byteCount }
  }

  /// Other appends to the same stream can share a batch with this one.
  var isFloating: Bool { parts.count == 1 && parts[0].expected == .any }

  /// What came of it. To be awaited once.
  func outcome() async -> Outcome {
    await withUnsafeContinuation { continuation in
      let outcome = state.withLock { state -> Outcome? in
        if case .settled(let outcome) = state { return outcome }
        state = .awaited(continuation)
        return nil
      }
      if let outcome { continuation.resume(returning: outcome) }
    }
  }

  /// Its caller no longer wants it.
  func cancel() {
    let handler = cancellation.withLock { cancellation -> (@Sendable () -> Void)? in
      defer { cancellation = .requested }
      if case .handler(let handler) = cancellation { return handler }
      return nil
    }
    handler?()
  }

  var isCancelled: Bool {
    cancellation.withLock { if case .requested = $0 { true } else { false } }
  }

  /// Calls `handler` when its caller no longer wants it; at once where that is so already. It takes the place of the one
  /// before it.
  func whenCancelled(_ handler: @escaping @Sendable () -> Void) {
    let isRequested = cancellation.withLock { cancellation in
      if case .requested = cancellation { return true }
      cancellation = .handler(handler)
      return false
    }
    if isRequested { handler() }
  }

  func settle(_ outcome: Outcome) {
    let waiter = state.withLock { state -> UnsafeContinuation<Outcome, Never>? in
      defer { state = .settled(outcome) }
      if case .awaited(let continuation) = state { return continuation }
      return nil
    }
    // It may hold this object.
    cancellation.withLock { if case .handler = $0 { $0 = .none } }
    waiter?.resume(returning: outcome)
  }
}
