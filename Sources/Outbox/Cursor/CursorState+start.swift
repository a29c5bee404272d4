internal import DequeModule
internal import EventStore
internal import HeapModule

/// Which events may start.
extension CursorState {
  // MARK: Starting

  /// The next event that may start.
  ///
  /// - Parameter most: Of its key so many at once, at most: consecutive ones, for one handler that takes them in order.
  func start(upTo most: Int = 1, now: Instant) -> Flight? {
    let count = rules.keyInterval > 0 ? 1 : most
    wake(now)
    while let key = popReady(now) {
      if held.contains(key.shard) {
        suppressed.append(key)
        continue
      }
      key.isReady = false
      guard isStartable(key, now) else { continue }
      if rules.keyInterval > 0 {
        guard key.notBefore <= now else {
          timers.insert(Timer(due: key.notBefore, key: key.name, position: 0))
          continue
        }
        key.notBefore = now + rules.keyInterval
      }
      if key.singles.isEmpty, let due = notYet(key, now) {
        wait(until: due, key, now)
        continue
      }
      lastFlight += 1
      inFlight += 1
      key.flight = lastFlight
      if !key.singles.isEmpty {
        let entry = key.singles.removeFirst()
        key.flying = (entry.position, -1)
        return Flight(number: lastFlight, key: key.name, shard: key.shard, first: entry, more: [])
      }
      var first = key.queue.removeFirst()
      if let behind = key.behind {
        first.attempts = behind.attempts
        first.firstFailed = behind.firstFailed
      }
      var more: [Entry] = []
      while more.count + 1 < count, let next = key.queue.first, next.event != nil, notYet(key, now) == nil {
        more.append(next)
        key.queue.removeFirst()
      }
      if key.behind != nil {
        forget(CollectionOfOne(first))
        forget(more)
      }
      key.flying = (first.position, first.slot)
      return Flight(number: lastFlight, key: key.name, shard: key.shard, first: first, more: more)
    }
    return nil
  }

  /// The most urgent lane first; but who has waited for long enough in another comes before it.
  func popReady(_ now: Instant) -> Key? {
    for lane in ready.indices.reversed() where lane > 0 {
      if let first = ready[lane].first, now - first.readySince > rules.patience { return ready[lane].popFirst() }
    }
    for lane in ready.indices where !ready[lane].isEmpty { return ready[lane].popFirst() }
    return nil
  }

  /// The time of a key's next event has not come.
  func wait(until due: Instant, _ key: Key, _ now: Instant) {
    guard rules.timersPass, let entry = key.queue.popFirst() else {
      let position = (key.queue.first?.position ?? 0) - 1
      return setBehind(key, Behind(position: position, due: due, attempts: key.behind?.attempts ?? 0))
    }
    // It comes by itself. Not before it was the next of its key: so that whatever is written of the key later is beyond it.
    if key.behind != nil { forget(CollectionOfOne(entry)) }
    if singles[entry.position] == nil {
      singles[entry.position] = Single(key: key.name, shard: key.shard, reason: .timer, due: due, attempts: 0)
      changedSingles.insert(entry.position)
      singleTimers.insert(Timer(due: due, key: nil, position: entry.position))
    }
    passed(entry, key)
    goOn(key, now)
  }

  /// When the next event of a key may start, where that is later than now.
  func notYet(_ key: Key, _ now: Instant) -> Instant? {
    guard let timer = rules.timer, let event = key.queue.first?.event, let due = timer(event), due > now
    else { return nil }
    return due
  }

  func isStartable(_ key: Key, _ now: Instant) -> Bool {
    guard key.flight == 0 else { return false }
    if !key.singles.isEmpty { return true }
    guard let first = key.queue.first, first.event != nil else { return false }
    guard let behind = key.behind else { return true }
    return behind.due.map { $0 <= now } ?? false
  }

  /// When something that waits for its time may start, at the earliest.
  var nextDue: Instant? {
    let single = singlesTaken < limits.window / 4 ? singleTimers.min?.due : nil
    guard let key = timers.min?.due else { return single }
    return min(key, single ?? key)
  }

  /// Whether anything may start now, as far as is known.
  var hasReady: Bool { ready.contains { !$0.isEmpty } }

  func wake(_ now: Instant) {
    lastNow = now
    while let timer = timers.min, timer.due <= now {
      timers.removeMin()
      guard let key = timer.key.flatMap({ keys[ExactName($0)] }) else { continue }
      guard let behind = key.behind else {
        // It may go on now, or be forgotten.
        goOn(key, now)
        continue
      }
      if !key.singles.isEmpty { readyIfStartable(key) }
      guard let due = behind.due, due <= now else { continue }
      if key.queue.isEmpty, key.flight == 0, behind.attempts == 0 {
        finishCatchingUp(key)
      } else {
        readyIfStartable(key)
      }
    }
    // Not more of them in memory than of others.
    while singlesTaken < limits.window / 4, let timer = singleTimers.min, timer.due <= now {
      singleTimers.removeMin()
      guard var single = singles[timer.position], !single.isTaken, single.due <= now else { continue }
      single.isTaken = true
      singlesTaken += 1
      singles[timer.position] = single
      wanted.append(timer.position)
    }
  }

  func readyIfStartable(_ key: Key) {
    guard key.flight == 0, !key.isReady else { return }
    if key.singles.isEmpty {
      guard let first = key.queue.first else { return }
      if let behind = key.behind, behind.due == nil { return }
      guard first.event != nil else { return fetch(key) }
    }
    key.isReady = true
    key.readySince = lastNow
    enqueue(key)
  }

  func enqueue(_ key: Key) {
    if held.contains(key.shard) { suppressed.append(key) } else { ready[key.lane].append(key) }
  }

  // MARK: Events that are not in memory

  func fetch(_ key: Key) {
    guard let behind = key.behind, !behind.isFetching else { return }
    key.behind?.isFetching = true
    fetching.append(key)
    // Its next one in any case, or it would wait for others that do not move.
    let room = max(1, min(limits.eventsKept, limits.eventsKeptInAll - eventsKept - eventsWanted))
    let missing = key.queue.prefix(room).filter { $0.event == nil }.map(\.position)
    eventsWanted += missing.count
    wanted += missing
  }

  /// Positions of events that are to be read, for ``deliver(_:wanted:now:)``.
  func takeWanted(now: Instant) -> [Int64] {
    wake(now)
    defer { wanted = [] }
    return wanted
  }

  /// They were not read after all.
  func wantAgain(_ positions: [Int64]) { wanted += positions }

  /// The events that were wanted; what is missing of them is not there any more, and passed over.
  func deliver(
    _ events: [RecordedEvent], wanted positions: [Int64], now: Instant,
    key: (RecordedEvent) -> (name: String, shard: UInt8)?
  ) {
    var missing = Set(positions)
    for event in events {
      let position = event.position.rawValue
      missing.remove(position)
      if let single = singles[position], single.isTaken {
        var entry = Entry(position: position, page: [event], index: 0)
        entry.isSingle = true
        entry.attempts = single.attempts
        entry.firstFailed = single.firstFailed
        entry.reason = single.reason
        let key = self.key(single.key, single.shard)
        key.singles.append(entry)
        readyIfStartable(key)
      } else if let (name, _) = key(event), let key = keys[ExactName(name)],
        let place = key.queue.firstIndex(where: { $0.position == position })
      {
        if key.queue[place].event == nil { eventsKept += 1 }
        key.queue[place].hold(event)
      }
    }
    for position in missing where singles.removeValue(forKey: position) != nil {
      changedSingles.insert(position)
      singlesTaken -= 1
    }
    let waiting = fetching
    fetching = []
    eventsWanted = 0
    for key in waiting {
      key.behind?.isFetching = false
      while let first = key.queue.first, missing.contains(first.position) {
        key.queue.removeFirst()
        positionsKept -= 1
        key.behind?.position = first.position
        changedKeys.insert(ExactName(key.name))
      }
      goOn(key, now)
    }
  }
}
