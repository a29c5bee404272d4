internal import Logging
public import ServiceLifecycle

/// The background service: it makes the snapshots that loads found due, and those of streams that have grown without
/// having been loaded.
extension AggregateStore: Service {
  /// Runs until the graceful shutdown, after which it makes what still waits; or until its task is cancelled.
  ///
  /// Streams that grew while no service ran are found at their next load, or by `esctl snapshots build`.
  public func run() async throws {
    guard let snapshots else { return try await gracefulShutdown() }
    let wakes = snapshotQueue.open()
    await cancelWhenGracefulShutdown { [self] in
      await withTaskGroup { group in
        group.addTask { for await _ in wakes { await self.saveWaiting() } }
        for type in aggregates { group.addTask { await self.follow(type, snapshots) } }
      }
    }
    snapshotQueue.close()
    if !Task.isCancelled { await saveWaiting() }
  }

  private func saveWaiting() async { for save in snapshotQueue.take() { await save() } }

  /// How often streams are looked for that have grown.
  private static var pollInterval: Duration { .seconds(1) }

  private func follow<A: Aggregate>(_ type: A.Type, _ snapshots: any SnapshotStore) async {
    let folder = folder(type)
    guard type.snapshotPolicy.smallestGrowth < .max else { return }
    var position: Position?
    while !Task.isCancelled {
      do {
        // At first only where the log ends: what came before is found when it is loaded.
        let grown = try await snapshots.grownStreams(
          of: type.category, folder.fold.shape, by: type.snapshotPolicy.smallestGrowth, after: position)
        for stream in grown.streams {
          do {
            let folded = try await folder.state(of: stream, at: .latest)
            if folder.isSnapshotDue(folded) { await save(folded, of: stream) }
          } catch let error as AggregateError {
            // One that cannot be folded holds up no other.
            Logger.current.warning(
              "A stream cannot be folded: no snapshot is kept", metadata: ["stream": "\(stream)", "error": "\(error)"])
          }
        }
        position = grown.position
      } catch {
        Logger.current.warning(
          "Streams that have grown could not be looked at; it is tried again",
          metadata: ["category": "\(type.category)", "error": "\(error)"])
      }
      try? await Task.sleep(for: Self.pollInterval)
    }
  }
}
