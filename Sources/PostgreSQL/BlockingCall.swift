internal import Dispatch
internal import Glibc

/// A call that may block for long, on a thread of its own: the threads that tasks run on are few, and Dispatch's global
/// queue is theirs too.
enum BlockingCall {
  private final class Body {
    let run: @Sendable () -> Void

    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  static func run(_ body: @escaping @Sendable () -> Void) {
    let boxed = Unmanaged.passRetained(Body(body))
    var thread = pthread_t()
    let created = pthread_create(
      &thread, nil,
      { boxed in
        if let boxed { Unmanaged<Body>.fromOpaque(boxed).takeRetainedValue().run() }
        return nil
      }, boxed.toOpaque())
    if created == 0 {
      pthread_detach(thread)
    } else {
      // No further thread may be made: better late than never.
      boxed.release()
      DispatchQueue.global().async(execute: body)
    }
  }
}
