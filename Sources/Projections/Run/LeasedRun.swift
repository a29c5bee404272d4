internal import EventStore

/// Runs one build here up to the end of the log, as its owner.
struct LeasedRun: Sendable {
  let catalog: ProjectionCatalog
  let build: ProjectionBuild
  let definition: Definition
  let options: ProjectionRunner.Options

  /// - Returns: Whether it was run to the end; `false`: somebody else does that.
  /// - Throws: ``ProjectionFailure`` when it must stop.
  @discardableResult
  func run(progress: RunProgress) async throws -> Bool {
    let holder = Leaseholder(catalog.log, catalog.queries, duration: options.lease)
    guard let epoch = try await holder.take(build) else { return false }
    let run = BuildRun(catalog: catalog, build: build, definition: definition, options: options, progress: progress)
    do {
      let isDone = try await withThrowingTaskGroup(of: Bool.self) { group in
        group.addTask {
          try await run.run(.caughtUp)
          return true
        }
        group.addTask {
          while true {
            try await Task.sleep(for: options.lease / 5)
            // Lost: another runner goes on.
            let kept = try? await holder.renew([(build.number, epoch, progress.rate())])
            if let kept, kept.isEmpty { return false }
          }
        }
        defer { group.cancelAll() }
        return try await group.next() ?? false
      }
      await holder.release()
      return isDone
    } catch {
      await holder.release()
      throw error
    }
  }
}
