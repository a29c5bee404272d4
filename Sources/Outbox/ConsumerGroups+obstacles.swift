internal import EventStore
internal import FoundationEssentials

/// Why a group does not move, or not as fast as one may think.
public enum GroupObstacle: Sendable, Hashable {
  /// At an event, until it is resumed.
  case stopped(GroupFailure)
  /// Until it is resumed.
  case paused
  /// Events wait, and nobody consumes.
  case noMember
  /// Shards that no living member owns: for longer than a moment only where all members have as many as they may.
  case shardsWithoutOwner(Int)
  /// Keys wait for a person to decide about a dead letter.
  case keysHeld(Int)
  /// Consumers that rest because their handlers fail one after the other.
  case breakerOpen(members: Int)
  /// Events wait because the group may go only so fast.
  case rateLimited(Double)
  /// Every event waits for its time.
  case delayed(Double)
  /// So many keys are behind that a consumer may have stopped reading.
  case manyKeysBehind(Int)

  /// For people, in English: a clause without a capital letter or a full stop.
  public var finding: String {
    switch self {
    case .stopped(let failure): "it has stopped: \(failure)"
    case .paused: "it is paused"
    case .noMember: "it has no consumer"
    case .shardsWithoutOwner(let count): "\(count) of its 256 shards have no living owner"
    case .keysHeld(let count): "\(count) keys are held until someone decides about their dead letters"
    case .breakerOpen(let members): "\(members) consumers rest: their handlers failed one after the other"
    case .rateLimited(let rate): "it may go no faster than \(rate) events a second"
    case .delayed(let seconds): "every event waits for \(seconds) s"
    case .manyKeysBehind(let count): "\(count) keys are behind"
    }
  }

  /// What to do about it, for people: mostly a command of `esctl`.
  ///
  /// - Parameter group: Its name. It is put into commands as it is, not quoted for a shell.
  public func advice(_ group: String) -> String {
    switch self {
    case .stopped: "mend what is wrong, then esctl outbox resume \(group)"
    case .paused: "esctl outbox resume \(group)"
    case .noMember: "start its service, or esctl outbox consume \(group) --exec …"
    case .shardsWithoutOwner: "they are taken within a second or two; if not, see esctl outbox members \(group)"
    case .keysHeld: "esctl outbox parked list \(group), then retry or skip"
    case .breakerOpen: "see what their handlers need: esctl outbox members \(group), and their logs"
    case .rateLimited: "esctl outbox groups update \(group) --rate 0, if that is not meant"
    case .delayed: "esctl outbox groups update \(group) --delay 0, if that is not meant"
    case .manyKeysBehind: "esctl outbox parked fingerprints \(group), and the logs of its consumers, say what fails"
    }
  }
}

extension ConsumerGroups {
  /// Why a group does not move: nothing, where it does or has nothing to do.
  public func obstacles(of status: Status) async throws -> [GroupObstacle] {
    var obstacles: [GroupObstacle] = []
    if let failure = status.failure { obstacles.append(.stopped(failure)) }
    if status.pausedAt != nil { obstacles.append(.paused) }
    let isBehind = try await lag(of: status, countingTo: 1).events > 0
    let living = try await members(of: status.group.name).filter(\.lives)
    if living.isEmpty {
      if isBehind || status.deferred > 0 { obstacles.append(.noMember) }
    } else {
      let free = 256 - living.reduce(0) { $0 + $1.shards }
      if free > 0 { obstacles.append(.shardsWithoutOwner(free)) }
      let resting = living.count { $0.status.isBreakerOpen }
      if resting > 0 { obstacles.append(.breakerOpen(members: resting)) }
    }
    if status.keysHeld > 0 { obstacles.append(.keysHeld(status.keysHeld)) }
    if status.keysBehind >= 1_000 { obstacles.append(.manyKeysBehind(status.keysBehind)) }
    if isBehind {
      if let rate = status.group.policy.rate { obstacles.append(.rateLimited(rate)) }
      if status.group.policy.delay > 0 { obstacles.append(.delayed(status.group.policy.delay)) }
    }
    return obstacles
  }
}
