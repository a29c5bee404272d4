internal import EventStore
internal import FoundationEssentials
internal import Logging
internal import PostgreSQL
internal import Synchronization

/// Writes down what has become of events.
extension CursorRun {
  // MARK: In a handler's transaction

  /// - Parameters:
  ///   - count: So many of the events, from the first, were handled …
  ///   - blame: … and this became of the one behind them. Those that follow come again.
  @discardableResult
  func finish(_ flights: [Flight], done count: Int, then blame: Outcome?) -> Bool {
    var place = 0
    return finished { state in
      for flight in flights {
        var outcomes: [Outcome] = []
        for _ in 0...flight.more.count {
          if place < count { outcomes.append(.done) } else if place == count, let blame { outcomes.append(blame) }
          place += 1
        }
        state.finish(flight, outcomes, now: Self.now)
      }
      return true
    }
  }

  /// Writes down, in the handler's own transaction, what became of events. Until it is known whether that was committed nothing
  /// else is written: ``committed()`` or ``rolledBack()`` must follow.
  func finish(_ flights: [Flight], done count: Int, then blame: Outcome?, on connection: Connection) async throws {
    if connection.isTransactionFailed {
      throw PostgreSQLError(.server, "a statement of it had failed", sqlState: "25P02")
    }
    await books.lock()
    finishing.store(true, ordering: .relaxed)
    if wasLost { throw PostgreSQLError(.server, "the cursor is another member's by now", sqlState: "ESO01") }
    finish(flights, done: count, then: blame)
    guard let changes = state.withLock({ $0.takeChanges(now: Self.now) }) else { return }
    try await write(changes, on: connection)
  }

  var isFinishing: Bool { finishing.load(ordering: .relaxed) }

  func committed() {
    finishing.store(false, ordering: .relaxed)
    books.unlock()
  }

  /// Perhaps: then it has to begin again with what is written.
  func rolledBack() {
    end(.lost)
    guard finishing.exchange(false, ordering: .relaxed) else { return }
    books.unlock()
  }

  // MARK: Keeping books

  /// Writes down what has become of events, fetches those that are wanted, and wakes those whose time has come; until it is
  /// stopped and all is written.
  func keepBooks() async throws {
    var lastMove = ContinuousClock.now - .seconds(10)
    while true {
      let seen = work.count
      idle.store(false, ordering: .relaxed)
      let mayMove = lastMove.duration(to: .now) > .seconds(1) || !isRunning
      var found = Found()
      try await patiently { found = try await self.writeOnce(mayMove: mayMove) }
      if !found.wanted.isEmpty { try await fetch(found.wanted) }
      if found.wasWritten { lastMove = .now }
      if !found.wasWritten, found.wanted.isEmpty {
        if !isRunning, found.inFlight == 0 { return }
        // Rests; whoever finishes something says so.
        idle.store(true, ordering: .sequentiallyConsistent)
        // Finished just before that was said.
        if state.withLock({ $0.hasNews }) { continue }
        let rest = found.due.map { Duration.nanoseconds(max(0, $0 - Self.now)) } ?? .seconds(1)
        await work.wait(after: seen, atMost: min(rest, .seconds(1)))
      }
      if state.withLock({ $0.hasReady || ($0.nextDue ?? .max) <= Self.now }) { startable.fire() }
      if found.wasWritten { try await Task.sleep(for: Self.pace) }
    }
  }

  struct Found {
    var wanted: [Int64] = []
    var due: CursorState.Instant?
    var inFlight = 0
    var wasWritten = false
  }

  func writeOnce(mayMove: Bool) async throws -> Found {
    // First a connection, then the books: a handler's transaction, which has one, waits for them.
    let lease = try await log.pool.lease()
    await books.lock()
    defer { books.unlock() }
    if wasLost { throw Loss.lost }
    try Task.checkCancellation()
    // The request first: what has become of its shards is among the changes then.
    let request = handOver.withLock { $0.take() }
    let now = Self.now
    var found = Found()
    let changes = state.withLock { state in
      found.wanted = state.takeWanted(now: now)
      found.due = state.nextDue
      found.inFlight = state.inFlight
      return state.takeChanges(now: now, mayOnlyMove: mayMove)
    }
    do {
      if let changes { try await write(changes, on: lease.connection) }
    } catch {
      let isLost = Self.isUnknown(error) || (error as? PostgreSQLError)?.sqlState == "ESO01"
      if isLost {
        // The server may have it still to do: after what is written next it would undo that. At a new epoch it is refused. Said
        // before the books are free: or a handler's transaction would move the cursor past what was not written.
        end(.lost)
      } else {
        // To be written with what comes next.
        if let changes { state.withLock { $0.putBack(changes) } }
        if !found.wanted.isEmpty { state.withLock { $0.wantAgain(found.wanted) } }
      }
      request?.continuation.resume(throwing: error)
      throw isLost ? Loss.lost : error
    }
    if let request { try await give(request) }
    found.wasWritten = changes != nil
    return found
  }

  /// Whether what was sent may take effect yet.
  private static func isUnknown(_ error: any Error) -> Bool {
    guard let error = error as? PostgreSQLError else { return false }
    return error.isOutcomeUnknown || error.code == .timeout
  }

  /// What was finished after it had been cancelled.
  func writeLast() async {
    await books.lock()
    defer { books.unlock() }
    guard restored.load(ordering: .acquiring), !wasLost, let changes = state.withLock({ $0.takeChanges(now: Self.now) })
    else { return }
    do {
      try await log.pool.withConnection { connection in try await self.write(changes, on: connection) }
    } catch {
      logger.warning(
        "A consumer ends without writing down what was handled last: it comes again",
        metadata: ["group": "\(group.name)", "cursor": "\(claim.cursor)", "error": "\(error)"])
    }
  }

  /// Not all in one statement: they may be very many.
  func events(at positions: [Int64]) async throws -> [RecordedEvent] {
    var events: [RecordedEvent] = []
    for start in stride(from: 0, to: positions.count, by: Self.page) {
      let page = positions[start..<min(start + Self.page, positions.count)]
      events += try await log.events(at: page.map { Position($0) })
    }
    return events
  }

  private static let page = 500

  func fetch(_ wanted: [Int64]) async throws {
    try await patiently {
      let events = try await self.events(at: wanted)
      self.state.withLock { $0.deliver(events, wanted: wanted, now: Self.now, key: self.key) }
    }
    startable.fire()
  }

  /// Writes it down, in whatever transaction the connection is.
  ///
  /// - Throws: `ESO01` where the cursor is another's by now.
  func write(_ changes: CursorChanges, on connection: Connection) async throws {
    if changes.isOnlyMove {
      let place = changes.place
      let moved = try await connection.execute(
        queries.move,
        Parameters(
          row.withLock { $0 }, claim.cursor, claim.epoch, place.position,
          place.open.isEmpty ? nil : Bytea(OpenPositions.encode(place.open)),
          place.floors.isEmpty ? nil : BinaryArray(place.floors), Int64(changes.handled)))
      if !moved.isEmpty {
        row.withLock { $0 = moved.text(0, 0) }
        return
      }
      // The row was moved by others, such as VACUUM FULL: it is looked for by its key.
    }
    let settled = try await connection.execute(
      queries.settle, changes.parameters(cursor: claim.cursor, epoch: claim.epoch, consumer: Presence.process))
    row.withLock { $0 = settled.text(0, 0) }
  }
}
