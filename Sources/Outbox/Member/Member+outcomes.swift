internal import EventStore
internal import FoundationEssentials
internal import Logging
internal import PostgreSQL
internal import Synchronization

/// What becomes of events that fail, and of groups.
extension Member {
  /// What ends it: the first such error is thrown at the end.
  func failed(_ error: any Error) {
    switch error {
    case is CancellationError, ReadError.cancelled: return
    case let error as PostgreSQLError where error.code == .cancelled: return
    default: break
    }
    state.withLock { if $0.failure == nil { $0.failure = error } }
    leave()
  }

  func throwFailure() throws {
    if let failure = state.withLock({ $0.failure }) { throw failure }
  }

  var isLeaving: Bool { state.withLock { $0.isLeaving } }
  var allRunsHaveEnded: Bool { state.withLock { $0.runs.allSatisfy(\.hasEnded) } }

  /// Told of each event, for the breaker.
  func handled(well isWell: Bool) {
    guard !isWell else {
      // Nearly always there is nothing to forget.
      if failuresInARow.load(ordering: .relaxed) > 0 { failuresInARow.store(0, ordering: .relaxed) }
      return
    }
    guard let breaker = group.policy.breaker else { return }
    let isOpened = state.withLock { state -> Bool in
      guard failuresInARow.wrappingAdd(1, ordering: .relaxed).newValue >= breaker.failures else { return false }
      // The next failure opens it again at once.
      failuresInARow.store(breaker.failures - 1, ordering: .relaxed)
      state.breakerOpenUntil = CursorRun.now + Int64(breaker.pause * 1e9)
      return true
    }
    guard isOpened else { return }
    options.logger.warning(
      "A consumer rests: its handlers fail one after the other",
      metadata: ["group": "\(group.name)", "seconds": "\(breaker.pause)"])
    Task { [startable] in
      try? await Task.sleep(for: .seconds(breaker.pause))
      startable.fire()
    }
  }

  /// Whether an event has waited for too long; then nobody handles it.
  func hasExpired(_ entry: Entry, _ started: Started) async -> Bool {
    let policy = started.run.group.policy
    guard let expiry = policy.expiry, !entry.isSingle, let event = entry.event,
      clock.now.timeIntervalSince(event.recordedAt) - policy.delay > expiry
    else { return false }
    meter.expired()
    if let note = options.onExpiry, let delivery = started.delivery(of: entry, nil) { await note(delivery) }
    return true
  }

  /// Decides, by the group's policy, what becomes of an event.
  func outcome(of result: Result<Disposition, any Error>, _ entry: Entry, _ run: CursorRun) async -> Outcome {
    let disposition: Disposition
    switch result {
    case .success(let said): disposition = said
    case .failure(let failure as DeliveryFailure): disposition = failure.disposition
    case .failure where Task.isCancelled: return .postponed(.zero)
    case .failure(let error): disposition = .retry(reason: ErrorWords.of(error))
    }
    let policy = run.group.policy
    switch disposition {
    case .ack, .skip:
      meter.handled()
      handled(well: true)
      return .done
    case .throttle(let seconds, let reason):
      handled(well: false)
      if let reason {
        options.logger.warning(
          "An event comes again later", metadata: ["group": "\(run.group.name)", "reason": "\(reason)"])
      }
      return .postponed(.seconds(max(0.001, Self.sane(seconds))))
    case .park(let reason):
      // The event's fault, not that of what its handler needs.
      handled(well: true)
      return parked(reason, entry, policy, run)
    case .stop(let reason):
      await stopGroup(at: entry, reason)
      return .postponed(.zero)
    case .retry(let after, let reason):
      meter.failed()
      handled(well: false)
      let age = entry.firstFailed.map { Double(CursorRun.now - $0) / 1e9 } ?? 0
      var random = SystemRandomNumberGenerator()
      guard let delay = policy.retry.delay(after: entry.attempts + 1, age: age, &random) else {
        if policy.afterLastRetry == .stop {
          await stopGroup(at: entry, "tried \(entry.attempts + 1) times, at last: \(reason)")
          return .postponed(.zero)
        }
        return parked(reason, entry, policy, run)
      }
      return .retry(after: .seconds(Self.sane(after ?? delay)), problem: ErrorWords.sane(reason))
    }
  }

  func parked(_ reason: String, _ entry: Entry, _ policy: GroupPolicy, _ run: CursorRun) -> Outcome {
    meter.parked()
    options.logger.error(
      "A consumer group gives an event up",
      metadata: ["group": "\(run.group.name)", "position": "\(entry.position)", "problem": "\(reason)"])
    return .parked(
      problem: ErrorWords.sane(reason), fingerprint: Fingerprint.of(reason, type: entry.event?.type ?? ""),
      holdsKey: policy.afterLastRetry == .parkAndHold)
  }

  /// Seconds as a handler may say them: no more than a year.
  static func sane(_ seconds: Double) -> Double { seconds.isNaN ? 0 : min(max(0, seconds), 31_622_400) }

  /// Stops the group: what is wrong is no event's fault.
  func stopGroup(at entry: Entry, _ problem: String) async {
    guard let event = entry.event else { return }
    let failure = GroupFailure(
      position: event.position, stream: event.stream.description, version: event.version, type: event.type,
      problem: ErrorWords.sane(problem), consumer: Presence.process)
    let id = state.withLock { state in
      state.hasStopped = true
      return state.groupID
    }
    options.logger.error("A consumer group stops", metadata: ["group": "\(group.name)", "failure": "\(failure)"])
    // Where that cannot be written now, whoever takes the event next meets it again.
    _ = try? await log.pool.execute(queries.stop, Parameters(id, failure.json))
    beat.hint()
  }
}
