internal import CPostgreSQL
internal import DequeModule
internal import Dispatch
internal import Glibc
internal import Synchronization

/// One connection to PostgreSQL: non-blocking and pipelined. Statements run in the order in which they are sent, each
/// in its own implicit transaction unless BEGIN was sent, and nobody waits for a result before sending the next.
///
/// A caller sends on its own thread; results are read on the reactor's. Both hold the lock for as long as libpq moves
/// bytes, and libpq never waits, because the socket does not block.
public final class Connection: Sendable, ReactorClient {
  struct Entry {
    enum Kind {
      case statement(Statement, preparing: Bool)
      case script
      case copyOut(CopyOut)
      case copyIn(CopyIn)
    }
    var kind: Kind
    let pending: PendingResult
    var deadline: Deadline
    var cancelReason: PostgreSQLError.Code?
    var result: Result<Rows, PostgreSQLError>?
  }

  /// Safe to send: it exists once, behind the lock of the connection that it belongs to.
  struct Handle: @unchecked Sendable {
    let pg: OpaquePointer
    init(_ pg: OpaquePointer) { self.pg = pg }
  }

  struct State {
    /// `nil` once the connection has failed or was closed.
    var handle: Handle?
    var pg: OpaquePointer? { handle?.pg }
    var failure: PostgreSQLError?
    var socket: Int32 = -1
    var token: UInt64 = 0
    var entries: Deque<Entry> = []
    var prepared: Set<Int> = []
    var readable = true
    var writable = false
    var onNotification: (@Sendable (Notification) -> Void)?
    var writeWaiter: PendingResult?
  }

  public struct Notification: Sendable, Hashable {
    public let channel: String
    public let payload: String
  }

  let state = Mutex(State())
  private let configuration: ConnectionConfiguration

  /// Rises with every connection that this process makes: one with a lower number was there before.
  package let serial = serials.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
  package static var newestSerial: UInt64 { serials.load(ordering: .sequentiallyConsistent) }
  private static let serials = Atomic<UInt64>(0)

  private init(_ configuration: ConnectionConfiguration) { self.configuration = configuration }

  // MARK: Connecting and closing

  /// Connects. libpq does it blocking, on a thread of its own, because only so does it try every host and address and
  /// honour every option of the connection string.
  public static func connect(_ configuration: ConnectionConfiguration) async throws(PostgreSQLError) -> Connection {
    let result = await withCheckedContinuation { continuation in
      DispatchQueue.global().async { continuation.resume(returning: connectBlocking(configuration)) }
    }
    let connection = try result.get()
    if Task.isCancelled {
      connection.close()
      throw PostgreSQLError(.cancelled, "cancelled while connecting")
    }
    return connection
  }

  private static func connectBlocking(
    _ configuration: ConnectionConfiguration
  ) -> Result<Connection, PostgreSQLError> {
    // A later keyword overrides an earlier one, so the connection string has the last word.
    let seconds = max(2, configuration.connectTimeout.components.seconds)
    let settings = [
      ("connect_timeout", String(seconds)), ("fallback_application_name", configuration.applicationName),
      ("client_encoding", "UTF8"), ("dbname", configuration.connectionString),
    ]
    let pg = withCStrings(settings.map(\.0)) { keywords in
      withCStrings(settings.map(\.1)) { values in PQconnectdbParams(keywords, values, 1) }
    }
    guard let pg else { return .failure(PostgreSQLError(.connectFailed, "libpq is out of memory")) }
    guard PQstatus(pg) == CONNECTION_OK, PQsetnonblocking(pg, 1) == 0, PQenterPipelineMode(pg) == 1 else {
      let error = PostgreSQLError(.connectFailed, PostgreSQLError.connectionMessage(pg))
      PQfinish(pg)
      return .failure(error)
    }
    // Notices of the server are for psql; errors come with results.
    PQsetNoticeProcessor(pg, { _, _ in }, nil)
    let connection = Connection(configuration)
    connection.state.withLock { [handle = Handle(pg)] state in
      state.handle = handle
      state.socket = PQsocket(handle.pg)
      state.token = Reactor.shared.register(state.socket, connection)
    }
    return .success(connection)
  }

  /// Closes the connection at once; statements under way fail with `closed`.
  public func close() { fail(PostgreSQLError(.closed, "the connection was closed")) }

  /// Why the connection is of no use any more; `nil` while it works.
  public var failure: PostgreSQLError? { state.withLock { $0.failure } }

  /// Whether a transaction was left open.
  var isInTransaction: Bool {
    state.withLock { state in
      let status = PQtransactionStatus(state.pg)
      return status == PQTRANS_INTRANS || status == PQTRANS_INERROR
    }
  }

  public var serverVersion: Int { state.withLock { Int(PQserverVersion($0.pg)) } }

  private func fail(_ error: PostgreSQLError) {
    let abandoned = state.withLock { state in Self.abandon(&state, error) }
    for (pending, error) in abandoned { pending.complete(.failure(error)) }
  }

  private static func abandon(
    _ state: inout State, _ error: PostgreSQLError
  ) -> [(PendingResult, PostgreSQLError)] {
    guard let pg = state.pg else { return [] }
    Reactor.shared.deregister(state.socket, state.token)
    PQfinish(pg)
    state.handle = nil
    state.failure = error
    state.onNotification = nil
    var abandoned: [(PendingResult, PostgreSQLError)] = []
    for entry in state.entries {
      if case .copyOut(let copy) = entry.kind { copy.finish(.failure(error)) }
      abandoned.append((entry.pending, error))
    }
    state.entries.removeAll()
    if let waiter = state.writeWaiter { abandoned.append((waiter, error)) }
    state.writeWaiter = nil
    return abandoned
  }

  // MARK: Statements

  /// Sends a statement; returns at once.
  ///
  /// - Parameter timeout: When it is over the statement is cancelled on the server. Default: the configuration's.
  public func send(
    _ statement: Statement, _ parameters: Parameters = Parameters(), timeout: Duration? = nil
  ) -> PendingResult {
    let pending = PendingResult(self)
    let deadline = Deadline.now.advanced(by: timeout ?? configuration.statementTimeout)
    let failure = state.withLock { state -> PostgreSQLError? in
      guard let pg = state.pg else { return state.failure }
      if case .some(let last) = state.entries.last, case .statement = last.kind {
      } else if !state.entries.isEmpty {
        return PostgreSQLError(.unexpectedResult, "a script or COPY is under way on this connection")
      }
      let preparing = configuration.preparedStatements && state.prepared.insert(statement.id).inserted
      let count = Int32(parameters.ends.count)
      let sent = parameters.withPointers { values, lengths, formats in
        guard configuration.preparedStatements else {
          return PQsendQueryParams(pg, statement.sql, count, parameters.types, values, lengths, formats, 1) == 1
        }
        return (!preparing || PQsendPrepare(pg, statement.name, statement.sql, count, parameters.types) == 1)
          && PQsendQueryPrepared(pg, statement.name, count, values, lengths, formats, 1) == 1
      }
      guard sent, PQpipelineSync(pg) == 1 else {
        return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg))
      }
      state.entries.append(
        Entry(kind: .statement(statement, preparing: preparing), pending: pending, deadline: deadline))
      return Self.flush(&state)
    }
    if let failure {
      fail(failure)
      pending.complete(.failure(failure))
    }
    return pending
  }

  /// Sends a statement and waits for its rows.
  @discardableResult
  public func execute(
    _ statement: Statement, _ parameters: Parameters = Parameters(), timeout: Duration? = nil
  ) async throws(PostgreSQLError) -> Rows {
    try await send(statement, parameters, timeout: timeout).rows()
  }

  /// Runs SQL text that may hold several statements, without parameters: schema changes, session settings. The
  /// statements are one transaction unless the text says otherwise. Returns the last result, in text format.
  @discardableResult
  public func script(_ sql: String, timeout: Duration? = nil) async throws(PostgreSQLError) -> Rows {
    try await begin(.script, sql, timeout: timeout).rows()
  }

  private static let nothing = Statement("")

  /// Leaves pipeline mode and sends `sql` by the simple protocol.
  func begin(_ kind: Entry.Kind, _ sql: String, timeout: Duration?) async throws(PostgreSQLError) -> PendingResult {
    // Whatever is still under way ends before an empty statement does.
    if state.withLock({ !$0.entries.isEmpty }) { try await execute(Self.nothing) }
    let pending = PendingResult(self)
    let deadline = Deadline.now.advanced(by: timeout ?? configuration.statementTimeout)
    let failure = state.withLock { state -> PostgreSQLError? in
      guard let pg = state.pg else { return state.failure }
      guard state.entries.isEmpty, PQexitPipelineMode(pg) == 1 else {
        return PostgreSQLError(.unexpectedResult, "other statements are under way on this connection")
      }
      guard PQsendQuery(pg, sql) == 1 else {
        return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg))
      }
      state.entries.append(Entry(kind: kind, pending: pending, deadline: deadline))
      return Self.flush(&state)
    }
    if let failure {
      if failure.code != .unexpectedResult { fail(failure) }
      pending.complete(.failure(failure))
    }
    return pending
  }

  /// Calls `handler`, on the reactor's thread, for every notification that arrives. It must not block.
  public func onNotification(_ handler: @escaping @Sendable (Notification) -> Void) {
    state.withLock { $0.onNotification = handler }
  }

  /// Asks the server to cancel what this connection runs, if that is `pending`.
  func cancel(_ pending: PendingResult) {
    state.withLock { state in
      guard let first = state.entries.first, first.pending === pending else { return }
      state.entries[0].cancelReason = .cancelled
      Self.requestCancel(state.pg)
    }
  }

  private static func requestCancel(_ pg: OpaquePointer?) {
    guard let cancel = PQgetCancel(pg) else { return }
    // PQcancel opens a connection of its own and waits for it. The pointer goes to that thread and to nobody else.
    nonisolated(unsafe) let handle = cancel
    DispatchQueue.global().async {
      var message = [CChar](repeating: 0, count: 256)
      PQcancel(handle, &message, Int32(message.count))
      PQfreeCancel(handle)
    }
  }

  // MARK: The reactor's side

  /// Sends what libpq holds back; asks to be called again when the socket takes more.
  static func flush(_ state: inout State) -> PostgreSQLError? {
    guard let pg = state.pg else { return state.failure }
    let left = PQflush(pg)
    if left < 0 { return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg)) }
    watch(&state, readable: state.readable, writable: left == 1)
    return nil
  }

  static func watch(_ state: inout State, readable: Bool, writable: Bool) {
    guard readable != state.readable || writable != state.writable else { return }
    state.readable = readable
    state.writable = writable
    Reactor.shared.watch(state.socket, state.token, readable: readable, writable: writable)
  }

  func ready(readable: Bool, writable: Bool) { advance(readable: readable) }

  /// Moves bytes both ways, takes every result that is complete, and hands results out after the lock is released.
  func advance(readable: Bool) {
    var completed: [(PendingResult, Result<Rows, PostgreSQLError>)] = []
    var notifications: [Notification] = []
    var handler: (@Sendable (Notification) -> Void)?
    let failure = state.withLock { state -> PostgreSQLError? in
      guard let pg = state.pg else { return nil }
      if let failure = Self.flush(&state) { return failure }
      if !state.writable, let waiter = state.writeWaiter {
        state.writeWaiter = nil
        completed.append((waiter, .failure(PostgreSQLError(.cancelled, "room to write"))))
      }
      if readable, PQconsumeInput(pg) == 0 {
        return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg))
      }
      while let notification = PQnotifies(pg) {
        notifications.append(
          Notification(
            channel: String(cString: notification.pointee.relname),
            payload: notification.pointee.extra.map { String(cString: $0) } ?? ""))
        PQfreemem(notification)
      }
      handler = state.onNotification
      return Self.takeResults(&state, pg, &completed)
    }
    for (pending, result) in completed { pending.complete(result) }
    if let handler { notifications.forEach(handler) }
    if let failure { fail(failure) }
  }

  private static func takeResults(
    _ state: inout State, _ pg: OpaquePointer,
    _ completed: inout [(PendingResult, Result<Rows, PostgreSQLError>)]
  ) -> PostgreSQLError? {
    while !state.entries.isEmpty {
      if case .copyOut(let copy) = state.entries[0].kind, copy.isReading {
        switch copy.read(pg) {
        case .more: return nil
        case .full:
          watch(&state, readable: false, writable: state.writable)
          return nil
        case .end: break
        }
      }
      if PQisBusy(pg) == 1 { return nil }
      guard let result = PQgetResult(pg) else {
        // The end of one command's results; of a script's, the end of it all.
        if case .statement = state.entries[0].kind { continue }
        completed.append(finish(&state))
        guard PQenterPipelineMode(pg) == 1 else {
          return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg))
        }
        continue
      }
      switch PQresultStatus(result) {
      case PGRES_PIPELINE_SYNC:
        PQclear(result)
        completed.append(finish(&state))
      case PGRES_PIPELINE_ABORTED:
        PQclear(result)
      case PGRES_COPY_OUT:
        PQclear(result)
        guard case .copyOut(let copy) = state.entries[0].kind else { return unexpectedCopy }
        copy.start()
      case PGRES_COPY_IN:
        guard case .copyIn = state.entries[0].kind else { return unexpectedCopy }
        // The entry stays until the caller has sent its data and ended it.
        completed.append((state.entries[0].pending, .success(Rows(result))))
        return nil
      case PGRES_FATAL_ERROR, PGRES_BAD_RESPONSE:
        var error = PostgreSQLError(result: result)
        PQclear(result)
        if error.sqlState == nil { return PostgreSQLError(.connectionLost, error.message) }
        if error.code == .timeout, let reason = state.entries[0].cancelReason {
          error = PostgreSQLError(reason, error.message, sqlState: error.sqlState)
        }
        if case .statement(let statement, preparing: true) = state.entries[0].kind {
          state.prepared.remove(statement.id)
        }
        state.entries[0].result = state.entries[0].result.flatMap { if case .failure = $0 { $0 } else { nil } }
          ?? .failure(error)
      default:
        if case .statement(let statement, preparing: true) = state.entries[0].kind {
          PQclear(result)
          state.entries[0].kind = .statement(statement, preparing: false)
        } else if case .failure = state.entries[0].result {
          PQclear(result)
        } else {
          state.entries[0].result = .success(Rows(result))
        }
      }
    }
    return nil
  }

  private static let unexpectedCopy = PostgreSQLError(
    .unexpectedResult, "the server began a COPY that was not asked for as one")

  private static func finish(_ state: inout State) -> (PendingResult, Result<Rows, PostgreSQLError>) {
    let entry = state.entries.removeFirst()
    let result =
      entry.result ?? .failure(PostgreSQLError(.unexpectedResult, "the server ended the statement without a result"))
    switch entry.kind {
    case .copyOut(let copy): copy.finish(result)
    case .copyIn(let copy): return (copy.ended, result)
    case .statement, .script: break
    }
    return (entry.pending, result)
  }

  func tick(_ now: Deadline) {
    let failure = state.withLock { state -> PostgreSQLError? in
      guard let first = state.entries.first, now >= first.deadline else { return nil }
      if first.cancelReason == .timeout {
        return PostgreSQLError(.connectionLost, "the server did not answer in time, not even to a cancellation")
      }
      state.entries[0].cancelReason = .timeout
      state.entries[0].deadline = now.advanced(milliseconds: 5000)
      Self.requestCancel(state.pg)
      return nil
    }
    if let failure { fail(failure) }
  }
}

/// Calls `body` with a null-terminated array of C strings.
private func withCStrings<R>(_ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>) -> R) -> R {
  let copies = strings.map { strdup($0) }
  defer { copies.forEach { free($0) } }
  return (copies.map { UnsafePointer($0) } + [nil]).withUnsafeBufferPointer { pointers in
    // Never empty: it ends with the nil above.
    body(pointers.baseAddress.unsafelyUnwrapped)
  }
}
