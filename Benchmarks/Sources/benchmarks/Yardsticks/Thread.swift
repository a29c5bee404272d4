import Glibc

/// A thread of the system's own, for calls that block.
enum Thread {
  private final class Work {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }

  static func run<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
      let work = Unmanaged.passRetained(
        Work { continuation.resume(with: Swift.Result { try body() }) })
      var thread = pthread_t()
      let status = pthread_create(
        &thread, nil,
        { address in
          if let address { Unmanaged<Work>.fromOpaque(address).takeRetainedValue().body() }
          return nil
        }, work.toOpaque())
      guard status == 0 else {
        work.release()
        continuation.resume(throwing: Problem("no thread could be made (error \(status)): too many processes?"))
        return
      }
      pthread_detach(thread)
    }
  }
}
