internal import DequeModule
internal import EventStore
internal import HeapModule

/// What became of events that had started.
extension CursorState {
  // MARK: Finishing

  /// What became of an event that was in flight.
  ///
  /// - Parameter outcomes: Of ``Flight/first`` and ``Flight/more``. After one that was not done or given up, those that follow
  ///   come again.
  /// - Returns: Whether it was still in flight; `false`: it was given up meanwhile, and this counts for nothing.
  @discardableResult
  func finish(_ flight: Flight, _ outcomes: [Outcome], now: Instant) -> Bool {
    finish(flight, now: now) { $0 < outcomes.count ? outcomes[$0] : .postponed(.zero) }
  }

  @discardableResult
  func finish(_ flight: Flight, _ outcome: Outcome, now: Instant) -> Bool {
    finish(flight, now: now) { _ in outcome }
  }

  func finish(_ flight: Flight, now: Instant, _ outcome: (Int) -> Outcome) -> Bool {
    guard let key = keys[ExactName(flight.key)], key.flight == flight.number else { return false }
    key.flight = 0
    inFlight -= 1
    if flight.first.isSingle {
      finishSingle(flight.first, key, outcome(0), now)
    } else {
      for index in 0...flight.more.count {
        let entry = index == 0 ? flight.first : flight.more[index - 1]
        let fate = finish(entry, key, outcome(index), now)
        guard fate != .passed else { continue }
        putBack(flight.more.dropFirst(index), key)
        if fate == .comesAgain { putBack(CollectionOfOne(entry), key) }
        break
      }
    }
    goOn(key, now)
    return true
  }

  enum Fate {
    case passed
    case comesAgain
    /// It has passed, and those after it must wait.
    case holds
  }

  func finish(_ entry: Entry, _ key: Key, _ outcome: Outcome, _ now: Instant) -> Fate {
    switch outcome {
    case .done:
      handled += 1
      passed(entry, key)
      return .passed
    case .parked(let problem, let fingerprint, let holdsKey):
      park(entry, key, problem, fingerprint, holdsKey, now)
      if holdsKey {
        setBehind(key, Behind(position: entry.position, due: nil, problem: problem))
      }
      passed(entry, key)
      return holdsKey ? .holds : .passed
    case .retry(let delay, let problem):
      setBehind(
        key,
        Behind(
          position: entry.position - 1, due: now + delay.nanoseconds, attempts: entry.attempts + 1,
          firstFailed: entry.firstFailed ?? now, problem: problem))
      return .comesAgain
    case .postponed(let delay):
      if delay > .zero {
        setBehind(
          key,
          Behind(
            position: entry.position - 1, due: now + delay.nanoseconds, attempts: entry.attempts,
            firstFailed: entry.firstFailed, problem: key.behind?.problem))
      }
      return .comesAgain
    }
  }

  func passed(_ entry: Entry, _ key: Key) {
    free(entry.slot)
    // Beyond what was read, only what lies below a floor can be done: the floor says so already.
    if entry.position <= admitted { highest = max(highest, entry.position) }
    guard key.behind != nil else { return }
    key.behind?.position = entry.position
    key.behind?.attempts = 0
    key.behind?.firstFailed = nil
    key.behind?.problem = nil
    changedKeys.insert(ExactName(key.name))
  }

  func park(
    _ entry: Entry, _ key: Key, _ problem: String, _ fingerprint: String, _ holdsKey: Bool, _ now: Instant
  ) {
    guard let event = entry.event else { return }
    handled += 1
    deadLetters.append(
      DeadLetter(
        position: entry.position, key: key.name, shard: key.shard, stream: event.stream.description,
        version: event.version, type: event.type, eventID: event.id, problem: problem, fingerprint: fingerprint,
        attempts: entry.attempts + 1, age: now - (entry.firstFailed ?? now), holdsKey: holdsKey))
  }

  /// Gives a key a row of its own: from then on the cursor does not wait for it.
  func setBehind(_ key: Key, _ behind: Behind) {
    if key.behind == nil {
      keysBehind += 1
      positionsKept += key.queue.count
      for place in key.queue.indices {
        free(key.queue[place].slot)
        key.queue[place] = kept(key.queue[place], at: place)
      }
    }
    key.behind = behind
    changedKeys.insert(ExactName(key.name))
    if let due = behind.due { timers.insert(Timer(due: due, key: key.name, position: 0)) }
  }

  func putBack(_ entries: some BidirectionalCollection<Entry>, _ key: Key) {
    for entry in entries.reversed() {
      guard key.behind != nil else {
        key.queue.prepend(entry)
        continue
      }
      free(entry.slot)
      positionsKept += 1
      eventsKept += 1
      key.queue.prepend(entry.alone)
    }
  }

  func finishSingle(_ entry: Entry, _ key: Key, _ outcome: Outcome, _ now: Instant) {
    guard var single = singles[entry.position] else { return }
    changedSingles.insert(entry.position)
    singlesTaken -= 1
    switch outcome {
    case .done:
      handled += 1
      singles[entry.position] = nil
    case .parked(let problem, let fingerprint, _):
      // The key has gone on long ago: there is nothing to hold back.
      park(entry, key, problem, fingerprint, false, now)
      singles[entry.position] = nil
    case .retry(let delay, let problem):
      single.attempts += 1
      single.firstFailed = single.firstFailed ?? now
      single.problem = problem
      again(entry.position, &single, now + delay.nanoseconds)
    case .postponed(let delay): again(entry.position, &single, now + delay.nanoseconds)
    }
  }

  func again(_ position: Int64, _ single: inout Single, _ due: Instant) {
    single.due = due
    single.isTaken = false
    singles[position] = single
    singleTimers.insert(Timer(due: due, key: nil, position: position))
  }

  /// Lets the next event of a key start, or forgets the key.
  func goOn(_ key: Key, _ now: Instant) {
    if !key.queue.isEmpty || !key.singles.isEmpty { return readyIfStartable(key) }
    guard key.flight == 0 else { return }
    if key.notBefore > now {
      // Kept, so that its next event does not come too soon.
      timers.insert(Timer(due: key.notBefore, key: key.name, position: 0))
    } else if key.behind == nil {
      keys[ExactName(key.name)] = nil
    } else {
      finishCatchingUp(key)
    }
  }

  /// A key that has nothing left is where its cursor is: unless it is held.
  func finishCatchingUp(_ key: Key) {
    guard let behind = key.behind, behind.due != nil else { return }
    keysBehind -= 1
    key.behind = nil
    changedKeys.insert(ExactName(key.name))
    if key.singles.isEmpty { keys[ExactName(key.name)] = nil }
  }

  func free(_ slot: Int) {
    guard slot >= firstSlot, !slots[slot - firstSlot].isDone else { return }
    slots[slot - firstSlot].isDone = true
    undone -= 1
    if undone == 0 { highest = max(highest, admitted) }
    while let first = slots.first, first.isDone {
      slots.removeFirst()
      firstSlot += 1
    }
  }

  // MARK: Keys that take too much room

  /// Sets aside the keys that have most of what waits, so that others need not wait for room behind them.
  func spill(now: Instant) {
    for key in keys.values where key.behind == nil && key.queue.count > 16 {
      guard let first = key.queue.first else { continue }
      // What is in flight is not done: it comes again with the others if this member dies.
      let undone = key.flight == 0 || key.flying.slot < 0 ? first.position : key.flying.position
      setBehind(key, Behind(position: undone - 1, due: now))
      if key.flight != 0 { free(key.flying.slot) }
    }
    // Behind a few that are slow there may be very many that are done.
    guard slots.count > 4 * limits.window else { return }
    for key in keys.values where key.behind == nil && key.flight != 0 && key.flying.slot >= 0 {
      setBehind(key, Behind(position: key.flying.position - 1, due: now))
      free(key.flying.slot)
    }
  }
}
