internal import DequeModule
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

  /// How often streams are looked for that have grown, and for how long at a time snapshots are made of them: a
  /// fiftieth of the time is taken from those who append. Where they are so fast that this is not enough, loads make the rest.
  private static var tick: (interval: Duration, work: Duration) { (.seconds(1), .milliseconds(10)) }
  /// Streams that wait for their turn. One that finds no room is found again when it has grown, or at its next load.
  private static var mostWaiting: Int { 10_000 }

  private func follow<A: Aggregate>(_ type: A.Type, _ snapshots: any SnapshotStore) async {
    let folder = folder(type)
    guard type.snapshotPolicy.smallestGrowth < .max else { return }
    var position: Position?
    var waiting = OrderedStreams()
    while !Task.isCancelled {
      let start = ContinuousClock.now
      do {
        // At first only where the log ends: what came before is found when it is loaded.
        let grown = try await snapshots.grownStreams(
          of: type.category, folder.fold.shape, by: type.snapshotPolicy.smallestGrowth, after: position)
        for stream in grown.streams.shuffled() where waiting.count < Self.mostWaiting { waiting.append(stream) }
        position = grown.position
        let end = ContinuousClock.now + Self.tick.work
        while ContinuousClock.now < end, let stream = waiting.popFirst() { try await makeSnapshot(folder, stream) }
      } catch {
        if Task.isCancelled { return }
        Logger.current.warning(
          "Streams that have grown could not be looked at; it is tried again",
          metadata: ["category": "\(type.category)", "error": "\(error)"])
      }
      // One long stream alone can take longer than its share: then the rest is longer too.
      try? await Task.sleep(for: max(Self.tick.interval, start.duration(to: .now) * 50))
    }
  }

  private func makeSnapshot<A: Aggregate>(_ folder: StreamFolder<AggregateFold<A>>, _ stream: StreamName) async throws {
    do {
      let folded = try await folder.state(of: stream, at: .latest)
      if folder.isSnapshotDue(folded) { await save(folded, of: stream) }
    } catch let error as AggregateError {
      // One that cannot be folded holds up no other.
      Logger.current.warning(
        "A stream cannot be folded: no snapshot is kept", metadata: ["stream": "\(stream)", "error": "\(error)"])
    }
  }
}

/// Streams in the order in which they came, each once.
private struct OrderedStreams {
  private var order: Deque<StreamName> = []
  private var members: Set<StreamName> = []

  var count: Int { order.count }

  mutating func append(_ stream: StreamName) { if members.insert(stream).inserted { order.append(stream) } }

  mutating func popFirst() -> StreamName? {
    guard let first = order.popFirst() else { return nil }
    members.remove(first)
    return first
  }
}
