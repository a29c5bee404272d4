internal import DequeModule
internal import EventStore
internal import HeapModule

/// What is to be written down, and shards that go to others.
extension CursorState {
  // MARK: Shards that go

  /// Starts nothing of these shards, until they are let go.
  func hold(_ more: ShardSet) { held = held.union(more) }

  func letGo(_ some: ShardSet) {
    held = held.subtracting(some)
    let waiting = suppressed
    suppressed = []
    for key in waiting { enqueue(key) }
  }

  /// Shards of which something is in flight.
  var busyShards: ShardSet { ShardSet(keys.values.lazy.filter { $0.flight != 0 }.map(\.shard)) }

  /// Forgets shards that are another's by now.
  func drop(_ gone: ShardSet) {
    shards = shards.subtracting(gone)
    held = held.subtracting(gone)
    for key in keys.values where gone.contains(key.shard) {
      for entry in key.queue { free(entry.slot) }
      if key.behind != nil {
        keysBehind -= 1
        forget(key.queue)
      }
      changedKeys.remove(ExactName(key.name))
      keys[ExactName(key.name)] = nil
    }
    // What is written of them from now on is another's to write.
    changedSingles.subtract(singles.filter { gone.contains($0.value.shard) }.keys)
    singles = singles.filter { !gone.contains($0.value.shard) }
    singlesTaken = singles.values.count { $0.isTaken }
    suppressed.removeAll { gone.contains($0.shard) }
    for lane in ready.indices { ready[lane].removeAll { gone.contains($0.shard) } }
    fetching.removeAll { gone.contains($0.shard) }
  }

  // MARK: Writing down

  /// Where the cursor is: all that another member needs, together with the rows of keys and single events.
  var place: CursorPlace {
    var open: [Int64] = []
    for slot in slots {
      guard slot.position <= highest || slot.isReopened else { break }
      if !slot.isDone { open.append(slot.position) }
    }
    return CursorPlace(position: highest, open: open, floors: floorsAbove(highest))
  }

  func floorsAbove(_ position: Int64) -> [Int64] {
    position < highestFloor ? floors : []
  }

  /// Whether something has become of events that is not written down.
  var hasNews: Bool { handled > 0 || !changedKeys.isEmpty || !changedSingles.isEmpty || !deadLetters.isEmpty }

  /// Whether where it is now is what was taken to be written last.
  var isWritten: Bool {
    let place = place
    return !hasNews && place.position == written.position && place.open == written.open
  }

  /// What is to be written down since the last time; `nil`: nothing.
  ///
  /// - Parameter mayOnlyMove: Also that it has passed events of others, and nothing else.
  func takeChanges(now: Instant, mayOnlyMove: Bool = true) -> CursorChanges? {
    let place = place
    let isMoved = place.position != written.position || place.open != written.open
    guard hasNews || (isMoved && mayOnlyMove) else { return nil }
    defer {
      written = (place.position, place.open)
      changedKeys = []
      changedSingles = []
      deadLetters = []
      handled = 0
    }
    return CursorChanges(
      place: place, handled: handled,
      keys: changedKeys.map { exact in
        let name = exact.text
        guard let key = keys[exact], let behind = key.behind else {
          return KeyRow(key: name, shard: 0, position: 0, delay: nil, attempts: -1, age: nil, problem: nil)
        }
        return KeyRow(
          key: name, shard: key.shard, position: behind.position, delay: behind.due.map { $0 - now },
          attempts: behind.attempts, age: behind.firstFailed.map { now - $0 }, problem: behind.problem)
      },
      singles: changedSingles.map { position in
        guard let single = singles[position] else {
          return SingleEvent(
            position: position, key: "", shard: 0, reason: .redrive, delay: 0, attempts: -1, age: nil, problem: nil)
        }
        return SingleEvent(
          position: position, key: single.key, shard: single.shard, reason: single.reason, delay: single.due - now,
          attempts: single.attempts, age: single.firstFailed.map { now - $0 }, problem: single.problem)
      },
      deadLetters: deadLetters)
  }

  /// They were not written down: they are to be, the next time.
  func putBack(_ changes: CursorChanges) {
    written = (-1, [])
    changedKeys.formUnion(changes.keys.map { ExactName($0.key) })
    changedSingles.formUnion(changes.singles.map(\.position))
    deadLetters = changes.deadLetters + deadLetters
    handled += changes.handled
  }
}
