internal import DequeModule
internal import Synchronization

/// A bounded pool of connections to one server. Connections are made when they are needed and kept; a broken one is
/// replaced at its next use.
///
/// Needs no background task: ``close()`` is all there is to its life.
public final class ConnectionPool: Sendable {
  private struct State {
    var idle: [Connection] = []
    /// Made or being made.
    var open = 0
    var waiters: Deque<Waiter> = []
    var isClosed = false
    var leased: [ObjectIdentifier: Connection] = [:]
    /// Leased by someone who does without where another waits. By the lease.
    var offered: [UInt64: Connection] = [:]
  }

  private struct Waiter {
    let id: UInt64
    let continuation: UnsafeContinuation<Grant, Never>
  }

  private enum Grant: Sendable {
    case connection(Connection)
    /// Room for one more: the waiter makes it itself.
    case room
    case failed(PostgreSQLError)
  }

  public let configuration: ConnectionConfiguration
  private let state = Mutex(State())
  private let lastWaiter = Atomic<UInt64>(0)
  private let lastLease = Atomic<UInt64>(0)

  /// Makes no connection yet.
  public init(_ configuration: ConnectionConfiguration) { self.configuration = configuration }

  /// A connection for this caller alone; it returns to the pool when the lease goes.
  ///
  /// - Throws: `poolTimeout` when none becomes free in time, `connectFailed`, `cancelled`, `closed`.
  public func lease() async throws(PostgreSQLError) -> Lease {
    let connection: Connection
    switch await grant() {
    case .connection(let idle): connection = idle
    case .failed(let error): throw error
    case .room:
      do {
        connection = try await Connection.connect(configuration)
      } catch {
        giveRoom()
        throw error
      }
    }
    let closed = state.withLock { state in
      state.leased[ObjectIdentifier(connection)] = connection
      return state.isClosed
    }
    let lease = Lease(connection, of: self, id: lastLease.wrappingAdd(1, ordering: .relaxed).newValue)
    if closed { throw Self.closed }
    return lease
  }

  /// Calls `body` with a connection for it alone.
  public func withConnection<R>(_ body: (Connection) async throws -> R) async throws -> R {
    let lease = try await lease()
    defer { extendLifetime(lease) }
    return try await body(lease.connection)
  }

  /// Runs one statement on any connection.
  @discardableResult
  public func execute(
    _ statement: Statement, _ parameters: Parameters = Parameters(), timeout: Duration? = nil
  ) async throws(PostgreSQLError) -> Rows {
    let lease = try await lease()
    defer { extendLifetime(lease) }
    return try await lease.connection.execute(statement, parameters, timeout: timeout)
  }

  /// Closes every connection: see ``Connection/close()``. Whoever waits for one fails with `closed`.
  public func close() {
    let (connections, waiters) = state.withLock { state in
      state.isClosed = true
      defer {
        state.idle = []
        state.waiters = []
      }
      return (state.idle + state.leased.values, state.waiters)
    }
    for waiter in waiters { waiter.continuation.resume(returning: .failed(Self.closed)) }
    for connection in connections { connection.close() }
  }

  private static let closed = PostgreSQLError(.closed, "the connection pool was closed")

  private static let cancelled = PostgreSQLError(.cancelled, "cancelled while waiting for a connection")

  private func grant() async -> Grant {
    let immediate = state.withLock { takeImmediate(&$0) }
    if let immediate { return immediate }
    let id = lastWaiter.wrappingAdd(1, ordering: .relaxed).newValue
    var timer: Task<Void, Never>?
    defer { timer?.cancel() }
    return await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        let (immediate, offered) = state.withLock { state -> (Grant?, Connection?) in
          if Task.isCancelled { return (.failed(Self.cancelled), nil) }
          if let immediate = takeImmediate(&state) { return (immediate, nil) }
          state.waiters.append(Waiter(id: id, continuation: continuation))
          return (nil, state.offered.popFirst()?.value)
        }
        // Only now, or a short time-out would find nobody to withdraw.
        if let immediate { continuation.resume(returning: immediate) } else { timer = withdrawal(of: id) }
        if let offered { takeBack(offered) }
      }
    } onCancel: {
      withdraw(id, Self.cancelled)
    }
  }

  private func withdrawal(of id: UInt64) -> Task<Void, Never> {
    Task { [configuration] in
      try? await Task.sleep(for: configuration.poolTimeout)
      guard !Task.isCancelled else { return }
      withdraw(
        id,
        PostgreSQLError(
          .poolTimeout,
          "all \(configuration.maximumConnections) connections were in use for \(configuration.poolTimeout)"))
    }
  }

  private func takeImmediate(_ state: inout State) -> Grant? {
    if state.isClosed { return .failed(Self.closed) }
    while let connection = state.idle.popLast() {
      if connection.failure == nil { return .connection(connection) }
      state.open -= 1
    }
    if state.open < configuration.maximumConnections {
      state.open += 1
      return .room
    }
    return nil
  }

  private func withdraw(_ id: UInt64, _ error: PostgreSQLError) {
    let waiter = state.withLock { state -> Waiter? in
      guard let index = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
      return state.waiters.remove(at: index)
    }
    waiter?.continuation.resume(returning: .failed(error))
  }

  fileprivate func takeBack(_ connection: Connection) {
    guard connection.isSettled(orElse: { [self] in takeBack(connection) }) else { return }
    if connection.failure == nil, connection.isInTransaction { connection.close() }
    let usable = connection.failure == nil
    let (waiter, grant, close) = state.withLock { state -> (Waiter?, Grant, Bool) in
      state.leased[ObjectIdentifier(connection)] = nil
      if state.isClosed { return (nil, .room, true) }
      if let waiter = state.waiters.popFirst() { return (waiter, usable ? .connection(connection) : .room, false) }
      if usable { state.idle.append(connection) } else { state.open -= 1 }
      return (nil, .room, false)
    }
    if close { connection.close() }
    waiter?.continuation.resume(returning: grant)
  }

  fileprivate func offer(_ lease: UInt64, _ connection: Connection) {
    let isWanted = state.withLock { state in
      if state.waiters.isEmpty { state.offered[lease] = connection }
      return !state.waiters.isEmpty
    }
    if isWanted { takeBack(connection) }
  }

  fileprivate func keep(_ lease: UInt64) -> Bool {
    state.withLock { $0.offered.removeValue(forKey: lease) != nil }
  }

  private func giveRoom() {
    let waiter = state.withLock { state -> Waiter? in
      if let waiter = state.waiters.popFirst() { return waiter }
      state.open -= 1
      return nil
    }
    waiter?.continuation.resume(returning: .room)
  }

  /// A connection on loan. It goes back when the last reference goes and what it sent has ended; one with a
  /// transaction or a COPY left open is closed.
  public final class Lease: Sendable {
    /// Not to be used once the lease has gone: it may be another's by then.
    public let connection: Connection
    private let pool: ConnectionPool
    private let id: UInt64
    private let isOffered = Atomic<Bool>(false)

    fileprivate init(_ connection: Connection, of pool: ConnectionPool, id: UInt64) {
      self.connection = connection
      self.pool = pool
      self.id = id
    }

    /// Until ``keep()``: whoever waits for a connection may have this one, once what was sent on it has ended. For a
    /// holder who goes on to other work for a while, and may need a second connection for that.
    package func offer() {
      isOffered.store(true, ordering: .relaxed)
      pool.offer(id, connection)
    }

    /// Takes an offer back, where there is one.
    ///
    /// - Returns: `false`: somebody has the connection. It must not be used again; what was sent on it still ends well.
    package func keep() -> Bool {
      guard isOffered.load(ordering: .relaxed) else { return true }
      guard pool.keep(id) else { return false }
      isOffered.store(false, ordering: .relaxed)
      return true
    }

    deinit {
      if !isOffered.load(ordering: .relaxed) || pool.keep(id) { pool.takeBack(connection) }
    }
  }
}
