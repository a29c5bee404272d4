internal import CPostgreSQL
internal import DequeModule
internal import Synchronization

/// The reactor's side: what the server sends is taken in.
extension Connection {
  /// Sends what libpq holds back; asks to be called again when the socket takes more.
  static func flush(_ state: inout State) -> PostgreSQLError? {
    guard let pg = state.pg else { return state.failure }
    let left = PQflush(pg)
    if left < 0 { return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg)) }
    watch(&state, readable: state.readable, writable: left == 1)
    return nil
  }

  static func watch(_ state: inout State, readable: Bool, writable: Bool) {
    guard readable != state.readable || writable != state.writable, state.ownsSocket else { return }
    state.readable = readable
    state.writable = writable
    guard state.mover == .reactor else { return }
    state.reactor.watch(state.socket, state.token, readable: readable, writable: writable)
  }

  func ready(readable: Bool, writable: Bool) {
    // Nobody moves bytes: then the socket is watched for nothing, and this says that it is broken.
    returnToReactor()
    advance(as: .reactor, readable: readable)
  }

  /// Moves bytes both ways, takes every result that is complete, and hands results out after the lock is released.
  func advance(as mover: Mover, readable: Bool) {
    var completed: [(PendingResult, Result<Rows, PostgreSQLError>)] = []
    var notifications: [Notification] = []
    var handler: (@Sendable (Notification) -> Void)?
    var onSettled: (@Sendable () -> Void)?
    let failure = state.withLock { state -> PostgreSQLError? in
      // An event from before a caller took over is that caller's now.
      guard let pg = state.pg, state.mover == mover else { return nil }
      if let failure = Self.flush(&state) { return failure }
      if !state.writable, let waiter = state.writeWaiter {
        state.writeWaiter = nil
        completed.append((waiter, .failure(PostgreSQLError(.cancelled, "room to write"))))
      }
      if readable, PQconsumeInput(pg) == 0 {
        return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg))
      }
      defer { onSettled = Self.takeOnSettled(&state) }
      if let failure = takeResults(&state, pg, &completed) { return failure }
      // After the results: taking those is what reads the notifications behind them.
      while let notification = PQnotifies(pg) {
        notifications.append(
          Notification(
            channel: String(cString: notification.pointee.relname),
            payload: notification.pointee.extra.map { String(cString: $0) } ?? ""))
        PQfreemem(notification)
      }
      handler = state.onNotification
      return nil
    }
    for (pending, result) in completed { pending.complete(result) }
    // One who has begun to wait since then has missed it.
    if mover == .reactor, !completed.isEmpty { state.withLock { $0.ringCaller() } }
    if let handler { notifications.forEach(handler) }
    onSettled?()
    if let failure { fail(failure) }
  }

  func takeResults(
    _ state: inout State, _ pg: OpaquePointer,
    _ completed: inout [(PendingResult, Result<Rows, PostgreSQLError>)]
  ) -> PostgreSQLError? {
    while !state.entries.isEmpty {
      if case .copyOut(let copy) = state.entries[0].kind, copy.isReading {
        let (progress, waiter) = copy.read(pg)
        if let waiter { completed.append((waiter, .failure(CopyOut.moved))) }
        switch progress {
        case .more: return nil
        case .full:
          Self.watch(&state, readable: false, writable: state.writable)
          return nil
        case .end: break
        }
      }
      if PQisBusy(pg) == 1 { return nil }
      guard let result = PQgetResult(pg) else {
        // The end of one command's results; of a script's, the end of it all.
        if case .statement = state.entries[0].kind { continue }
        finish(&state, &completed)
        guard PQenterPipelineMode(pg) == 1 else {
          return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg))
        }
        continue
      }
      switch PQresultStatus(result) {
      case PGRES_PIPELINE_SYNC:
        PQclear(result)
        finish(&state, &completed)
      case PGRES_PIPELINE_ABORTED:
        PQclear(result)
      case PGRES_COPY_OUT:
        PQclear(result)
        guard case .copyOut(let copy) = state.entries[0].kind else { return Self.unexpectedCopy }
        copy.start()
      case PGRES_COPY_IN:
        // The entry stays until the caller has sent its data and ended it; libpq repeats this result until then.
        guard case .copyIn(let copy) = state.entries[0].kind else { return Self.unexpectedCopy }
        completed.append((copy.begun, .success(Rows(result))))
        state.entries[0].pending = copy.ended
        return nil
      case PGRES_COPY_BOTH:
        PQclear(result)
        return Self.unexpectedCopy
      case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE:
        var error = PostgreSQLError(result: result)
        PQclear(result)
        if error.sqlState == nil { return PostgreSQLError(.connectionLost, error.message) }
        if error.code == .timeout, let reason = state.entries[0].cancelReason {
          error = PostgreSQLError(reason, error.message, sqlState: error.sqlState)
        }
        if case .statement(let statement, let preparing) = state.entries[0].kind {
          if preparing {
            state.prepared[statement.id] = nil
          } else if error.sqlState == "26000" || error.sqlState == "0A000" {
            // Deallocated; or the type of its result has changed with the schema.
            state.prepared[statement.id]?.preparation = .refused
          }
        }
        state.entries[0].result =
          state.entries[0].result.flatMap { if case .failure = $0 { $0 } else { nil } }
          ?? .failure(error)
      default:
        if case .statement(let statement, preparing: true) = state.entries[0].kind {
          PQclear(result)
          state.entries[0].kind = .statement(statement, preparing: false)
          state.prepared[statement.id]?.preparation = .done
        } else if case .failure = state.entries[0].result {
          PQclear(result)
        } else {
          state.entries[0].result = .success(Rows(result))
        }
      }
    }
    return nil
  }

  static let unexpectedCopy = PostgreSQLError(
    .unexpectedResult, "the server began a COPY that was not asked for as one")

  private func finish(_ state: inout State, _ completed: inout [(PendingResult, Result<Rows, PostgreSQLError>)]) {
    let entry = state.removeFirst()
    var result =
      confirmed(
        entry.result
          ?? .failure(PostgreSQLError(.unexpectedResult, "the server ended the statement without a result")))
    switch entry.kind {
    case .copyOut(let copy):
      if let waiter = copy.finish(result) { completed.append((waiter, .failure(CopyOut.moved))) }
    case .copyIn(let copy):
      if entry.pending === copy.begun, case .success = result { result = .failure(CopyIn.noCopy) }
    case .statement, .script: break
    }
    // Its turn has come, and it is not wanted any more. Most are over before a request for that could reach the server,
    // where it would hit the one behind: only one that still runs at the next tick is cancelled.
    if state.entries.first?.cancelReason != nil { state.entries[0].deadline = min(state.entries[0].deadline, .now) }
    completed.append((entry.pending, result))
  }

  func hurriedTick() { state.withLock { $0.ringCaller() } }

  func tick(_ now: Deadline) {
    var late: [PendingResult] = []
    var onSettled: (@Sendable () -> Void)?
    let (failure, mayHoldInput) = state.withLock { state -> (PostgreSQLError?, Bool) in
      Self.returnToReactor(&state)
      state.ringCaller()
      // libpq has found it broken while it looked at what had come: no event tells of that any more.
      if let pg = state.pg, !state.ownsSocket {
        return (PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg)), false)
      }
      if state.isCancelHanging(now) { return (Self.unresponsive, false) }
      if state.held.contains(where: { now >= $0.deadline }) {
        late = state.held.filter { now >= $0.deadline }.map(\.pending)
        state.held.removeAll { now >= $0.deadline }
        onSettled = Self.takeOnSettled(&state)
      }
      if let deadline = state.entries.first?.deadline, now >= deadline {
        guard state.entries[0].cancelAttempts < Self.cancelAttempts else { return (Self.unresponsive, false) }
        state.entries[0].cancelReason = state.entries[0].cancelReason ?? .timeout
        requestCancel(&state)
      }
      return (nil, state.readable && (PQsslInUse(state.pg) == 1 || PQgssEncInUse(state.pg) == 1))
    }
    for pending in late { pending.complete(.failure(PostgreSQLError(.timeout, "timed out before it was sent"))) }
    onSettled?()
    if let failure { fail(failure) }
    // The TLS library may hold bytes that it has decrypted and libpq has not fetched: no event tells of them.
    if mayHoldInput { advance(as: .reactor, readable: true) }
  }
}
