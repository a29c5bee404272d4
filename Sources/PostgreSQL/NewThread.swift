internal import Dispatch
internal import Glibc

/// A thread of its own for what may block: the threads that tasks run on are few, and Dispatch's global queue is theirs too.
package enum NewThread {
  private final class Body: Sendable {
    let run: @Sendable () -> Void

    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  /// - Returns: 0, or the error number where no further thread may be made.
  package static func start(_ run: @escaping @Sendable () -> Void) -> Int32 {
    let body = Unmanaged.passRetained(Body(run))
    var thread = pthread_t()
    let created = pthread_create(
      &thread, nil,
      { body in
        // Taken back from `start`, which gave it away.
        if let body { Unmanaged<Body>.fromOpaque(body).takeRetainedValue().run() }
        return nil
      }, body.toOpaque())
    if created == 0 { pthread_detach(thread) } else { body.release() }
    return created
  }

  /// As ``start(_:)``; where no thread may be made it waits for one of those that are there.
  static func startOrWait(_ run: @escaping @Sendable () -> Void) {
    if start(run) != 0 { DispatchQueue.global().async(execute: run) }
  }
}
