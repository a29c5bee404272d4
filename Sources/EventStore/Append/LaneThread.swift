internal import DequeModule
internal import Dispatch
internal import Glibc
internal import Synchronization

/// A thread for the tasks that drive a lane, where they may wait in the kernel for the server. On the shared pool that
/// would take a thread from everyone; and through the reactor each answer would wake two threads more.
///
/// It starts with the first job, and ends when there was none for a while.
final class LaneThread: TaskExecutor {
  private struct State {
    var jobs: Deque<UnownedJob> = []
    var isRunning = false
  }
  private let state = Mutex(State())
  private let wake = DispatchSemaphore(value: 0)
  private let pauseMayBeOver = DispatchSemaphore(value: 0)
  private static let idleSeconds = 5

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let needsThread = state.withLock { state in
      state.jobs.append(job)
      defer { state.isRunning = true }
      return !state.isRunning
    }
    if needsThread { start() }
    wake.signal()
  }

  private func start() {
    var thread = pthread_t()
    let created = pthread_create(
      &thread, nil,
      { context in
        // Taken back from `start`, which gave it away.
        if let context { Unmanaged<LaneThread>.fromOpaque(context).takeRetainedValue().run() }
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    precondition(created == 0, "no thread for a lane: errno \(created)")
    pthread_detach(thread)
  }

  /// Holds the calling task's thread, which is this one, until `isOver` when ``endPause()`` is called, for up to
  /// `duration`.
  func pause(for duration: Duration, until isOver: () -> Bool) {
    let end = DispatchTime.now() + .nanoseconds(Int(duration / .nanoseconds(1)))
    while !isOver(), pauseMayBeOver.wait(timeout: end) == .success {}
  }

  func endPause() { pauseMayBeOver.signal() }

  private func run() {
    while true {
      let timedOut = wake.wait(timeout: .now() + .seconds(Self.idleSeconds)) == .timedOut
      let job = state.withLock { state in
        let job = state.jobs.popFirst()
        if job == nil, timedOut { state.isRunning = false }
        return job
      }
      if let job {
        job.runSynchronously(on: asUnownedTaskExecutor())
      } else if timedOut {
        return
      }
    }
  }
}
