internal import Dispatch
internal import Glibc

/// SIGINT and SIGTERM cancel the command, so that it ends in order: what is under way is finished or rolled back.
enum Interruption {
  static func cancelling<R: Sendable>(_ body: @escaping () async throws -> R) async throws -> R {
    // The command is used by this one task only, and waited for.
    nonisolated(unsafe) let body = body
    let environment = CommandEnvironment.current
    let task = Task { try await CommandEnvironment.$current.withValue(environment) { try await body() } }
    let sources = [SIGINT, SIGTERM].map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number)
      source.setEventHandler {
        task.cancel()
        // The second time it means what it always means.
        signal(number, SIG_DFL)
      }
      source.resume()
      return source
    }
    defer {
      for source in sources { source.cancel() }
    }
    return try await task.value
  }
}
