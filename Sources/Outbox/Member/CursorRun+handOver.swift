internal import EventStore
internal import FoundationEssentials
internal import PostgreSQL
internal import Synchronization

/// Gives shards away, and comes to rest.
extension CursorRun {
  /// As it is now.
  var current: Claim {
    Claim(cursor: claim.cursor, epoch: claim.epoch, shards: shards, place: place, row: "(0,0)")
  }

  var shards: ShardSet { state.withLock { $0.shards } }
  var place: CursorPlace { state.withLock { $0.place } }
  var hasEnded: Bool { ended.load(ordering: .acquiring) }

  func letGo(_ shards: ShardSet) {
    state.withLock { $0.letGo(shards) }
    startable.fire()
  }

  /// Gives shards away of which nothing is in flight, or nothing any more within a time.
  ///
  /// - Parameter give: Writes down whose they are.
  func handOver(
    _ leaving: ShardSet, within patience: Duration, _ give: @escaping @Sendable (ShardSet) async throws -> Void
  ) async throws {
    let deadline = ContinuousClock.now + patience
    state.withLock { $0.hold(leaving) }
    defer { letGo(leaving) }
    while !state.withLock({ $0.busyShards.isDisjoint(from: leaving) }), ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(5))
    }
    let given = leaving.subtracting(state.withLock { $0.busyShards })
    guard !given.isEmpty, !hasEnded else { return }
    try await withCheckedThrowingContinuation { continuation in
      handOver.withLock { $0 = HandOver(shards: given, give: give, continuation: continuation) }
      work.hint()
      // It may have ended meanwhile.
      if hasEnded { handOver.withLock { $0.take() }?.continuation.resume() }
    }
  }

  /// Between two entries in the books: all that has become of these shards is written down.
  func give(_ request: HandOver) async throws {
    do {
      try await request.give(request.shards)
      state.withLock { $0.drop(request.shards) }
      request.continuation.resume()
    } catch {
      // Whether they were given away is not known: it begins again with what is written, and starts nothing of them before that.
      end(.lost)
      request.continuation.resume(throwing: error)
      throw Loss.lost
    }
  }

  /// Starts nothing more, and waits until nothing is in flight.
  ///
  /// - Returns: `false`: that took too long, and it goes on.
  func rest(within patience: Duration) async -> Bool {
    let deadline = ContinuousClock.now + patience
    state.withLock { $0.hold(.all) }
    while state.withLock({ $0.inFlight }) > 0 {
      guard ContinuousClock.now < deadline, !Task.isCancelled else {
        letGo(.all)
        return false
      }
      try? await Task.sleep(for: .milliseconds(2))
    }
    return true
  }

  /// Whether it ended in order, and what it says of its place is what is written.
  var isWritten: Bool {
    endedWell.load(ordering: .acquiring) && state.withLock { $0.isWritten }
  }

  func ends(within patience: Duration) async -> Bool {
    let deadline = ContinuousClock.now + patience
    while !hasEnded, ContinuousClock.now < deadline, !Task.isCancelled { try? await Task.sleep(for: .milliseconds(2)) }
    return hasEnded
  }
}
