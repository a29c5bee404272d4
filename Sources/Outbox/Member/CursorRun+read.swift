internal import EventStore
internal import FoundationEssentials
internal import PostgreSQL
internal import Synchronization

/// Reads the log behind the cursor.
extension CursorRun {
  func read() async throws {
    var filter = group.filter.log
    if group.key.isByStream, claim.shards != .all { filter.shards = claim.shards }
    let follower = LogFollower(
      log, after: Position(claim.place.position), filter, longestPause: Self.idlePoll)
    var lastSettled = ContinuousClock.now
    while !Task.isCancelled {
      // What comes now is for whoever begins again. It must not even be seen to be read.
      guard isRunning else {
        try await Task.sleep(for: .seconds(3600))
        continue
      }
      try await waitForRoom(follower)
      try await patiently {
        do {
          switch try await follower.next() {
          case .events(let page):
            guard self.isRunning else { return }
            if self.group.policy.delay > 0 {
              try await self.admitWhenDue(page, follower)
            } else {
              self.admit(page)
            }
          case .caughtUp:
            // Of a busy log that has nothing for this group, now and then.
            if follower.fruitlessLooks < 4 || lastSettled.duration(to: .now) > .milliseconds(250) {
              let settled = try await follower.settled()
              guard self.isRunning else { return }
              self.state.withLock { $0.settle(at: settled.rawValue) }
              lastSettled = .now
            }
            await follower.wait()
          }
        } catch {
          follower.restart()
          throw error
        }
      }
      if Task.isCancelled { return }
    }
  }

  func admit(_ events: [RecordedEvent]) {
    let hasReady = state.withLock { state in
      state.admit(events, key: key)
      return state.hasReady
    }
    if hasReady { startable.fire() }
  }

  /// Each event when it is old enough.
  func admitWhenDue(_ page: [RecordedEvent], _ follower: LogFollower) async throws {
    var rest = page[...]
    while let first = rest.first, isRunning {
      let latest = clock.now.addingTimeInterval(-group.policy.delay)
      let due = rest.prefix { $0.recordedAt <= latest }
      if due.isEmpty {
        follower.restart()
        try await Task.sleep(for: .seconds(min(1, first.recordedAt.timeIntervalSince(latest))))
      } else {
        admit(Array(due))
        rest = rest.dropFirst(due.count)
      }
    }
  }

  func waitForRoom(_ follower: LogFollower) async throws {
    while isRunning, !Task.isCancelled {
      let seen = room.count
      if state.withLock({ $0.hasRoom }) { return }
      await room.wait(after: seen, atMost: Self.patience)
      guard room.count == seen, isRunning, !Task.isCancelled else { continue }
      // Others may need the connection meanwhile.
      follower.restart()
      state.withLock { state in if !state.hasRoom { state.spill(now: Self.now) } }
      work.hint()
    }
  }
}
