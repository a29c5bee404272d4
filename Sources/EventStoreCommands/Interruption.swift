internal import ArgumentParser
internal import Dispatch
internal import Glibc

/// SIGINT, SIGTERM and SIGHUP cancel the command, so that it ends in order: what is under way is finished or rolled back.
enum Interruption {
  private static let passedOn = DispatchTimeInterval.milliseconds(500)

  static func cancelling(_ command: any AsyncParsableCommand) async throws {
    let handover = Handover(command)
    let environment = CommandEnvironment.current
    let task = Task {
      try await CommandEnvironment.$current.withValue(environment) { try await run(handover.value) }
    }
    let sources = [SIGINT, SIGTERM, SIGHUP].compactMap { number -> (any DispatchSourceSignal)? in
      let before = signal(number, SIG_IGN)
      // nohup(1) has asked for that.
      if number == SIGHUP, unsafeBitCast(before, to: Int.self) == unsafeBitCast(SIG_IGN, to: Int.self) { return nil }
      let source = DispatchSource.makeSignalSource(signal: number)
      source.setEventHandler {
        task.cancel()
        // The second time it means what it always means; but timeout(1), and others, pass on one signal twice.
        DispatchQueue.global().asyncAfter(deadline: .now() + passedOn) { signal(number, SIG_DFL) }
      }
      source.resume()
      return source
    }
    defer {
      for source in sources { source.cancel() }
    }
    try await task.value
  }

  private static func run(_ command: some AsyncParsableCommand) async throws {
    // Local to this call, which waits for it: `run` just does not say that it stays with its caller.
    nonisolated(unsafe) var command = command
    try await command.run()
  }
}

/// Carries a value into the one task that uses it from then on.
struct Handover<Value>: @unchecked Sendable {
  // Safe as long as whoever makes it does not touch the value before the task has ended.
  let value: Value
  init(_ value: Value) { self.value = value }
}
