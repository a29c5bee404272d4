internal import EventStore
internal import FoundationEssentials
internal import PostgreSQL
internal import Synchronization

/// Begins where cursors are.
extension Member {
  func startRuns(
    _ own: some Sequence<Int64>, _ start: (@escaping @Sendable () async throws -> Void) -> Void
  ) async throws {
    let (id, groupID, group, revision, busy) = state.withLock { state in
      let now = CursorRun.now
      state.former.removeAll { $0.run.figures.inFlight == 0 || $0.until < now }
      let busy = Set(state.runs.map(\.claim.cursor) + state.former.map(\.run.claim.cursor))
      return (state.id, state.groupID, state.group, state.revision, busy)
    }
    let idle = own.filter { !busy.contains($0) }
    guard !idle.isEmpty else { return }
    let rows = try await log.pool.execute(queries.begin, Parameters(BinaryArray(idle), id))
    // Somebody may have changed the group just before they were begun; afterwards he raises their epochs where that matters.
    let current = try await log.pool.execute(queries.revision, Parameters(groupID))
    guard !current.isEmpty, current.int64(0, 0) == revision else { return beat.hint() }
    let claims = rows.indices.map { row in
      CursorRun.Claim(
        cursor: rows.int64(row, 0), epoch: rows.int64(row, 1), shards: ShardSet(bits: rows.bytes(row, 2).dropFirst(4)),
        place: CursorPlace(
          position: rows.int64(row, 3), open: rows.isNull(row, 4) ? [] : OpenPositions.decode(rows.bytes(row, 4)),
          floors: rows.isNull(row, 5) ? [] : rows.int64Array(row, 5)), row: rows.text(row, 6))
    }
    for claim in try await joined(claims, group) {
      let run = CursorRun(
        claim, group, groupID, log, queries, startable: startable, clock: clock, window: options.window,
        logger: options.logger)
      let isOn = state.withLock { state in
        guard !state.isLeaving else { return false }
        state.runs.append(run)
        state.shards += claim.shards.count
        return true
      }
      guard isOn else { return }
      start {
        // Whatever it ended by, the next look finds out what is to be done.
        defer { self.beat.hint() }
        try await run.run()
      }
    }
  }

  /// Cursors that are taken over together, and are near each other, begin as one: many would come to be, where members come and
  /// go all the time, each with a reader of its own.
  func joined(_ claims: [CursorRun.Claim], _ group: ConsumerGroup) async throws -> [CursorRun.Claim] {
    guard claims.count > 1 else { return claims }
    var own: [CursorRun.Claim] = []
    for claim in claims { own.append(try await withoutOthers(claim, group)) }
    var joined: [CursorRun.Claim] = []
    for claim in own.sorted(by: { $0.place.position < $1.place.position }) {
      guard let last = joined.last, claim.place.position - last.place.position < Self.near else {
        joined.append(claim)
        continue
      }
      joined[joined.count - 1] = try await merge(last, claim)
    }
    return joined
  }

  /// Without what is open of shards that are another cursor's by now: it may be done there.
  func withoutOthers(_ claim: CursorRun.Claim, _ group: ConsumerGroup) async throws -> CursorRun.Claim {
    guard !claim.place.open.isEmpty else { return claim }
    let events = try await log.events(at: claim.place.open.map { Position($0) })
    let open = events.filter { claim.shards.contains(group.key.key(of: $0).shard) }.map(\.position.rawValue)
    return CursorRun.Claim(
      cursor: claim.cursor, epoch: claim.epoch, shards: claim.shards, place: claim.place.restricted(to: open),
      row: claim.row)
  }

  /// Of neither anything may be in flight.
  func merge(_ one: CursorRun.Claim, _ other: CursorRun.Claim) async throws -> CursorRun.Claim {
    let place = one.place.merged(with: other.place, own: one.shards, others: other.shards)
    try await log.pool.execute(
      queries.merge,
      Parameters(
        one.cursor, one.epoch, other.cursor, other.epoch, place.position,
        place.open.isEmpty ? nil : Bytea(OpenPositions.encode(place.open)),
        place.floors.isEmpty ? nil : BinaryArray(place.floors)))
    // Where its row is now, its first move finds out.
    return CursorRun.Claim(
      cursor: one.cursor, epoch: max(one.epoch, other.epoch) + 1, shards: one.shards.union(other.shards), place: place,
      row: "(0,0)")
  }
}
