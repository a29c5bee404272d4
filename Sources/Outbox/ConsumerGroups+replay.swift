public import EventStore
internal import PostgreSQL

extension ConsumerGroups {
  /// So many events can be replayed at once: each makes a row until it was handled.
  public static let mostReplayed = 200_000

  /// Gives a group the events after a position, up to another, once more: with ``Delivery/cause`` `replay`, beside what it does
  /// else, but never beside another event of the same key. Its cursor stays where it is.
  ///
  /// - Parameter isDryRun: Only counts.
  /// - Returns: How many.
  /// - Throws: ``OutboxError``: `notFound`; `invalid`: the range is empty, reaches beyond what the group has been given, or has too
  ///   many events.
  @discardableResult
  public func replay(
    _ name: String, after first: Position, upTo last: Position, isDryRun: Bool = false
  ) async throws -> Int {
    let status = try await status(of: name)
    guard first < last else { throw OutboxError.invalid("a replay after \(first) up to \(last): the range is empty") }
    guard last <= status.position else {
      throw OutboxError.invalid(
        "a replay up to \(last): group \(name.debugDescription) has been given events up to \(status.position) so far, and gets "
          + "the others anyway")
    }
    let group = status.group
    var (positions, keys, shards): ([Int64], [String], [Int64]) = ([], [], [])
    for try await event in log.readDecided(after: first, upTo: last, where: group.filter.log)
    where group.filter.admits(event.metadata) {
      let (key, shard) = group.key.key(of: event)
      positions.append(event.position.rawValue)
      keys.append(CursorRules.name(key, lane: group.policy.lane(type: event.type, metadata: event.metadata)))
      shards.append(Int64(shard))
      guard positions.count <= Self.mostReplayed else {
        throw OutboxError.invalid(
          "a replay of more than \(Self.mostReplayed) events: take a smaller range, or `seek`, or a group of its own")
      }
    }
    guard !isDryRun, !positions.isEmpty else { return positions.count }
    try await log.pool.execute(
      queries.replay,
      Parameters(
        status.number, BinaryArray(positions), BinaryArray(keys), BinaryArray(shards), first.rawValue, last.rawValue))
    return positions.count
  }
}
