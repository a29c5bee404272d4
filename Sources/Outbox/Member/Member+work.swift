internal import EventStore
internal import Logging
internal import PostgreSQL

extension Member {
  /// Takes part until it is told to leave, or until the task is cancelled.
  func work(_ handler: GroupConsumer.Handler) async throws {
    let worker = Worker(member: self, handler: handler)
    // Until the last handler has returned, or was left alone.
    let watching = Task { await worker.watch() }
    defer { watching.cancel() }
    await withTaskGroup { tasks in
      for _ in 0..<worker.count { tasks.addTask { await worker.work() } }
      if options.endsWhenEmpty { tasks.addTask { await self.failing { try await self.leaveWhenEmpty() } } }
      do {
        try await stay { body in tasks.addTask { await self.failing(body) } }
      } catch {
        failed(error)
      }
      leave()
      // What is in flight is finished and written down.
      let deadline = ContinuousClock.now + options.shutdownPatience
      while !allRunsHaveEnded, ContinuousClock.now < deadline, !Task.isCancelled {
        try? await Task.sleep(for: .milliseconds(2))
      }
      if !allRunsHaveEnded {
        options.logger.warning("A consumer ends before its handlers have", metadata: ["group": "\(group.name)"])
      }
      tasks.cancelAll()
    }
    try throwFailure()
    try Task.checkCancellation()
  }

  private func failing(_ body: () async throws -> Void) async {
    do { try await body() } catch { failed(error) }
  }

  private func leaveWhenEmpty() async throws {
    let end = try await patiently { try await groups.end() }
    while try await !patiently({ try await groups.isEmpty(upTo: end, group.name) }) {
      try await Task.sleep(for: .milliseconds(50))
    }
    leave()
  }
}
