internal import EventStore
internal import FoundationEssentials
internal import Logging
internal import PostgreSQL
internal import Synchronization

/// How members divide the shards.
extension Member {
  /// Every member wants as many shards as the others.
  func rebalance(_ found: Heartbeat) async throws {
    let members = found.others.count + 1
    let (least, most) = (256 / members, (256 + members - 1) / members)
    if found.freeShards > 0, found.ownShards < most {
      let id = state.withLock { $0.id }
      let got = try await log.pool.execute(queries.claim, Parameters(id, Int32(most))).int32(0, 0)
      if got > 0 { beat.hint() }
      return
    }
    if found.ownShards > most || (found.ownShards > least && found.others.contains { $0.shards < least }) {
      guard let poorest = found.others.min(by: { $0.shards < $1.shards }), poorest.shards < least else { return }
      try await give(min(found.ownShards - least, least - poorest.shards), to: poorest.member)
      return
    }
    try await mergeIfNear()
  }

  /// Hands some shards over: those of which nothing is in flight, or soon nothing.
  func give(_ count: Int, to member: UUID) async throws {
    guard let run = state.withLock({ $0.runs.filter(\.isRunning).max { $0.shards.count < $1.shards.count } }) else {
      return
    }
    let leaving = ShardSet(run.shards.shards.prefix(count))
    guard !leaving.isEmpty else { return }
    try await run.handOver(leaving, within: options.handOverPatience) { [log, queries] given in
      try await log.pool.execute(
        queries.split, Parameters(run.claim.cursor, run.claim.epoch, given, member))
    }
  }

  /// Two cursors cost twice the reading. Where they are close they are made one.
  func mergeIfNear() async throws {
    let runs = state.withLock { $0.runs.filter(\.isRunning) }.sorted { $0.place.position < $1.place.position }
    guard runs.count > 1 else { return }
    for (one, other) in zip(runs, runs.dropFirst())
    where other.place.position - one.place.position < Self.near {
      guard await one.rest(within: .milliseconds(100)) else { return }
      guard await other.rest(within: .milliseconds(100)) else { return one.letGo(.all) }
      one.end(.stopping)
      other.end(.stopping)
      guard await one.ends(within: .seconds(2)), await other.ends(within: .seconds(2)) else { return }
      // Where one did not end in order, both begin again with what is written.
      guard one.isWritten, other.isWritten else { return }
      _ = takeRuns { $0 === one || $0 === other }
      _ = try await merge(one.current, other.current)
      self.beat.hint()
      return
    }
  }

  /// Positions.
  static let near: Int64 = 2_000
}
