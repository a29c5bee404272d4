internal import EventStore
internal import FoundationEssentials
internal import Logging
internal import PostgreSQL

/// Takes what may start, calls the handler, and says what became of it.
struct Worker: Sendable {
  let member: Member
  let handler: GroupConsumer.Handler
  let calls = TimedCalls()
  let span: HandlerSpan

  init(member: Member, handler: GroupConsumer.Handler) {
    self.member = member
    self.handler = handler
    span = HandlerSpan(member.log)
  }

  /// Events between two rests of a worker.
  private static let turn = 16

  var count: Int {
    switch handler {
    case .each:
      (member.slots == nil ? nil : member.options.automaticConcurrency?.upperBound) ?? member.options.concurrency
    // A batch is many events at a time as it is.
    case .batch: 2
    // One transaction a cursor at a time, since each moves it.
    case .transaction, .pull: 1
    }
  }

  func work() async {
    switch handler {
    case .each(let handler):
      var count = 0
      while let started = await member.next() {
        // Not every one: looking at the clock costs as much as a short handler.
        let began = member.slots != nil || count.isMultiple(of: Self.turn) ? CursorRun.now : nil
        let isWell = await handle(started, handler)
        if let began {
          let now = CursorRun.now
          member.meter.took(now - began)
          if let slots = member.slots {
            slots.ended(after: now - began, failed: !isWell, now: now)
            member.startable.fire()
          }
        }
        count += 1
        // A handler that never waits would keep the books from being kept.
        if count.isMultiple(of: Self.turn) { await Task.yield() }
      }
    case .batch(let limits, let handler):
      while let first = await member.next(upTo: min(limits.size, limits.perKey)) {
        let batch = await gather(first, limits, perKey: limits.perKey)
        let began = CursorRun.now
        await handle(batch, handler)
        member.meter.took(CursorRun.now - began)
        await Task.yield()
      }
    case .transaction(let limits, let handler):
      while let first = await member.next(upTo: limits.size) {
        await transact(gather(first, limits, perKey: limits.size, of: first.run), first.run, handler)
      }
    case .pull(let body):
      await body(Deliveries(member: member))
      member.leave()
    }
  }

  /// Cancels handlers whose time is over.
  func watch() async {
    while !Task.isCancelled {
      try? await Task.sleep(for: .milliseconds(20))
      let stuck = calls.sweep(now: CursorRun.now)
      if stuck >= count { member.failed(OutboxError.handlersStuck(group: member.group.name, count: stuck)) }
    }
  }

  // MARK: One by one

  /// - Returns: Whether it was handled.
  private func handle(
    _ started: Member.Started, _ handler: @escaping @Sendable (Delivery) async throws -> Disposition
  ) async -> Bool {
    let (entry, run) = (started.flight.first, started.run)
    if await member.hasExpired(entry, started) {
      run.finish(started.flight, .done)
      return true
    }
    let result: Result<Disposition, any Error>
    if let timeout = run.group.policy.timeout {
      let call = TimedCall(seconds: timeout, now: CursorRun.now)
      guard let delivery = started.delivery(of: entry, call) else { return false }
      result = await calls.run(call) { try await span.around(delivery) { try await handler(delivery) } }
    } else {
      guard let delivery = started.delivery(of: entry, nil) else { return false }
      do { result = .success(try await span.around(delivery) { try await handler(delivery) }) } catch {
        result = .failure(error)
      }
    }
    let outcome = await member.outcome(of: result, entry, run)
    run.finish(started.flight, outcome)
    if case .done = outcome { return true }
    return false
  }

  // MARK: Many at once

  /// More events of other keys, until there are enough, or the first has waited for as long as it may.
  private func gather(
    _ first: Member.Started, _ limits: GroupConsumer.BatchLimits, perKey: Int, of run: CursorRun? = nil
  ) async -> [Member.Started] {
    var batch = [first]
    var count = 1 + first.flight.more.count
    let deadline = ContinuousClock.now + .seconds(Member.sane(limits.window))
    while count < limits.size {
      let seen = member.startable.count
      let next = member.start(upTo: min(perKey, limits.size - count), of: run)
      if let next {
        batch.append(next)
        count += 1 + next.flight.more.count
        continue
      }
      let rest = deadline - .now
      guard rest > .zero, !Task.isCancelled, !member.isLeaving else { break }
      await member.startable.wait(after: seen, atMost: rest)
    }
    return batch
  }

  private func handle(
    _ batch: [Member.Started], _ handler: @escaping @Sendable ([Delivery]) async throws -> [Disposition]
  ) async {
    var live: [(started: Member.Started, expired: Int, entries: [Entry])] = []
    for started in batch {
      let entries = [started.flight.first] + started.flight.more
      // The oldest come first.
      var expired = 0
      while expired < entries.count, await member.hasExpired(entries[expired], started) { expired += 1 }
      guard expired < entries.count else {
        started.run.finish(started.flight, entries.map { _ in .done })
        continue
      }
      live.append((started, expired, Array(entries.dropFirst(expired))))
    }
    guard !live.isEmpty else { return }
    let entries = live.flatMap { key in key.entries.map { (key.started, $0) } }
    let timeout = live[0].started.run.group.policy.timeout
    let call = timeout.map { TimedCall(seconds: $0, now: CursorRun.now) }
    let deliveries = entries.compactMap { $0.0.delivery(of: $0.1, call) }
    guard deliveries.count == entries.count else { return }
    let result: Result<[Disposition], any Error>
    if let call {
      result = await calls.run(call) { try await span.around(deliveries) { try await handler(deliveries) } }
    } else {
      do { result = .success(try await span.around(deliveries) { try await handler(deliveries) }) } catch {
        result = .failure(error)
      }
    }
    var place = 0
    for (started, expired, entries) in live {
      var outcomes: [Outcome] = (0..<expired).map { _ in .done }
      for entry in entries {
        switch result {
        case .success(let dispositions):
          guard place < dispositions.count else { break }
          outcomes.append(await member.outcome(of: .success(dispositions[place]), entry, started.run))
        case .failure(let error):
          // Of each key the first is to blame: those behind it come again with it.
          if outcomes.count == expired {
            outcomes.append(await member.outcome(of: .failure(error), entry, started.run))
          }
        }
        place += 1
      }
      started.run.finish(started.flight, outcomes)
    }
  }

  // MARK: In transactions

  private struct Failed: Error {
    let place: Int
    let result: Result<Disposition, any Error>
  }

  /// The server refuses what handlers have written together.
  private struct Refused: Error {
    let error: PostgreSQLError
  }

  private static let immediate = Statement("SET CONSTRAINTS ALL IMMEDIATE")

  /// Events in one transaction, with the cursor's move. Where one fails, those before it are done again without it, and it is to
  /// blame by itself.
  private func transact(
    _ batch: [Member.Started], _ run: CursorRun,
    _ handler: @escaping @Sendable (Delivery, borrowing Transaction) async throws -> Disposition
  ) async {
    let flights = batch.map(\.flight)
    let entries = batch.flatMap { started in ([started.flight.first] + started.flight.more).map { (started, $0) } }
    var count = entries.count
    var blame: Outcome?
    switch member.refused.place(in: entries.lazy.map(\.1.position)) {
    case .none: break
    case .alone(let error):
      blame = await member.outcome(of: .failure(error), entries[0].1, run)
      count = 0
    case .amongOthers(let place): count = max(1, place)
    }
    while true {
      do {
        guard count > 0 else {
          run.finish(flights, done: 0, then: blame)
          return
        }
        try await member.groups.log.withTransaction { (transaction: borrowing Transaction) in
          for place in 0..<count { try await handle(entries[place], at: place, handler, transaction) }
          try await checkConstraints(of: transaction)
          // With it the cursor moves, or nothing of it stays.
          try await run.finish(flights, done: count, then: blame, on: transaction.connection)
        }
        run.committed()
        member.refused.wentWell(entries.prefix(count).lazy.map(\.1.position))
        member.meter.handled(count)
        member.handled(well: true)
        return
      } catch let failed as Failed {
        blame = await member.outcome(of: failed.result, entries[failed.place].1, run)
        count = failed.place
      } catch let error as PostgreSQLError where error.sqlState == "25P02" && !run.isFinishing {
        // A statement had failed, and its handler said nothing of it.
        guard count == 1 else {
          (count, blame) = (1, nil)
          continue
        }
        blame = await member.outcome(of: .failure(error), entries[0].1, run)
        count = 0
      } catch let refused as Refused {
        // Whose it is shows when there are fewer.
        guard count == 1 else {
          (count, blame) = (count / 2, nil)
          continue
        }
        blame = await member.outcome(of: .failure(refused.error), entries[0].1, run)
        count = 0
      } catch {
        if run.isFinishing, let error = error as? PostgreSQLError, error.code == .server, !Outage.isMeant(by: error),
          error.sqlState != "ESO01"
        {
          member.refused.note(entries.prefix(count).map(\.1.position), error)
        }
        // Whether it was committed is not known, or it was not: it begins again with what is written.
        member.options.logger.warning("A consumer's transaction failed", metadata: ["error": "\(error)"])
        run.rolledBack()
        // Nobody waits for them any more.
        run.finish(flights, done: 0, then: nil)
        if !Task.isCancelled { try? await Task.sleep(for: .milliseconds(100)) }
        return
      }
    }
  }

  /// What the server would look at when the transaction is committed it looks at now: afterwards it could only be undone, and
  /// nobody would be to blame.
  private func checkConstraints(of transaction: borrowing Transaction) async throws {
    do throws(PostgreSQLError) {
      try await transaction.execute(Self.immediate)
    } catch {
      if Self.isNobodysFault(error, transaction) { throw error }
      throw Refused(error: error)
    }
  }

  /// The trouble of this connection is not the event's; nor is what an event before it has left behind.
  private static func isNobodysFault(_ error: any Error, _ transaction: borrowing Transaction) -> Bool {
    if transaction.connection.failure != nil || Task.isCancelled { return true }
    return (error as? PostgreSQLError)?.sqlState.map(["25P02", "57P01", "57P02", "57P03"].contains) ?? false
  }

  private func handle(
    _ entry: (Member.Started, Entry), at place: Int,
    _ handler: @Sendable (Delivery, borrowing Transaction) async throws -> Disposition,
    _ transaction: borrowing Transaction
  ) async throws {
    if await member.hasExpired(entry.1, entry.0) { return }
    guard let delivery = entry.0.delivery(of: entry.1, nil) else { return }
    let disposition: Disposition
    do {
      disposition = try await span.around(delivery) { try await handler(delivery, transaction) }
    } catch {
      if Self.isNobodysFault(error, transaction) { throw error }
      throw Failed(place: place, result: .failure(error))
    }
    // Anything but done undoes what the others wrote.
    guard disposition == .ack || disposition == .skip else { throw Failed(place: place, result: .success(disposition)) }
  }
}
