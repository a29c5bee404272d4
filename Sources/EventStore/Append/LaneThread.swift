internal import DequeModule
internal import Dispatch
internal import PostgreSQL
internal import Synchronization

/// A thread for the tasks that drive a lane, where they may wait in the kernel for the server. On the shared pool that
/// would take a thread from everyone; and through the reactor each answer would wake two threads more.
///
/// It starts with the first job, and ends with this object.
final class LaneThread: TaskExecutor {
  /// What the thread holds: not this object, which would then never go.
  private final class Jobs: Sendable {
    private struct State {
      var waiting: Deque<(job: UnownedJob, executor: UnownedTaskExecutor)> = []
      var isOver = false
    }
    private let state = Mutex(State())
    /// Without a time-out: setting a timer whenever there is nothing to do would take longer than most jobs.
    private let wake = DispatchSemaphore(value: 0)

    func add(_ job: UnownedJob, on executor: UnownedTaskExecutor) {
      state.withLock { $0.waiting.append((job, executor)) }
      wake.signal()
    }

    func end() {
      state.withLock { $0.isOver = true }
      wake.signal()
    }

    func run() {
      while true {
        wake.wait()
        let (next, isOver) = state.withLock { state in (state.waiting.popFirst(), state.isOver) }
        if let next {
          next.job.runSynchronously(on: next.executor)
        } else if isOver {
          return
        }
      }
    }
  }

  private let jobs = Jobs()
  private let isStarted = Atomic<Bool>(false)

  deinit { jobs.end() }

  func enqueue(_ job: consuming ExecutorJob) {
    if !isStarted.load(ordering: .relaxed), !isStarted.exchange(true, ordering: .relaxed) { start() }
    jobs.add(UnownedJob(job), on: asUnownedTaskExecutor())
  }

  private func start() {
    let created = NewThread.start { [jobs] in jobs.run() }
    precondition(created == 0, "no thread for a lane: errno \(created)")
  }
}
