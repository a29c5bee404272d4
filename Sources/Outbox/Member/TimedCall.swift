internal import Synchronization

/// A call of a handler that may take only so long.
final class TimedCall: Sendable {
  private struct State {
    var deadline: Int64
    var isOver = false
    var isCancelled = false
    var task: Task<Void, Never>?
    var continuation: (@Sendable (any Error) -> Void)?
  }
  private let state: Mutex<State>
  let seconds: Double

  /// How long after its cancellation a handler may take to return.
  private static let grace: Int64 = 5_000_000_000

  init(seconds: Double, now: Int64) {
    self.seconds = seconds
    state = Mutex(State(deadline: now + Int64(Member.sane(seconds) * 1e9)))
  }

  func extend(seconds: Double, now: Int64) {
    state.withLock { state in
      if !state.isOver { state.deadline = max(state.deadline, now + Int64(Member.sane(seconds) * 1e9)) }
    }
  }

  fileprivate enum Look { case fine, over, stuck }

  fileprivate func look(_ now: Int64) -> Look {
    let (look, task, abandon) = state.withLock {
      state -> (Look, Task<Void, Never>?, (@Sendable (any Error) -> Void)?) in
      if now < state.deadline { return (.fine, nil, nil) }
      if !state.isOver {
        state.isOver = true
        return (.over, state.task, nil)
      }
      guard now > state.deadline + Self.grace else { return (.over, nil, nil) }
      defer { state.continuation = nil }
      return (.stuck, nil, state.continuation)
    }
    task?.cancel()
    abandon?(timedOut)
    return look
  }

  fileprivate var timedOut: DeliveryFailure {
    DeliveryFailure(.retry(reason: "the handler did not end within \(seconds) seconds"))
  }

  fileprivate var isOver: Bool { state.withLock { $0.isOver } }

  fileprivate func begin(_ task: Task<Void, Never>) {
    let isOver = state.withLock { state in
      state.task = task
      return state.isOver || state.isCancelled
    }
    if isOver { task.cancel() }
  }

  /// Whoever is first resumes the caller: the handler that returns, or the one who has waited for it long enough.
  fileprivate func set(_ continuation: @escaping @Sendable (any Error) -> Void) {
    state.withLock { $0.continuation = continuation }
  }

  fileprivate func takeContinuation() -> Bool {
    state.withLock { state in
      defer { state.continuation = nil }
      return state.continuation != nil
    }
  }

  func cancel() {
    let task = state.withLock { state in
      state.isCancelled = true
      return state.task
    }
    task?.cancel()
  }
}

/// The calls under way that have a time-out.
final class TimedCalls: Sendable {
  private let calls = Mutex<[ObjectIdentifier: TimedCall]>([:])

  /// Runs a handler. One whose time is over is cancelled, and failed; one that does not heed that is left alone, and its caller
  /// goes on without it.
  func run<R: Sendable>(
    _ call: TimedCall, _ handler: @escaping @Sendable () async throws -> R
  ) async -> Result<R, any Error> {
    calls.withLock { $0[ObjectIdentifier(call)] = call }
    return await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        call.set { continuation.resume(returning: .failure($0)) }
        call.begin(
          Task {
            var result: Result<R, any Error>
            do { result = .success(try await handler()) } catch { result = .failure(error) }
            if call.isOver, case .failure = result { result = .failure(call.timedOut) }
            _ = self.calls.withLock { $0.removeValue(forKey: ObjectIdentifier(call)) }
            if call.takeContinuation() { continuation.resume(returning: result) }
          })
      }
    } onCancel: {
      call.cancel()
    }
  }

  /// - Returns: How many handlers have not returned long after they should have.
  func sweep(now: Int64) -> Int {
    let calls = calls.withLock { Array($0.values) }
    return calls.count { call in
      if case .stuck = call.look(now) { true } else { false }
    }
  }
}
