internal import CPostgreSQL
internal import DequeModule
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
    var pending: PendingResult
    var deadline: Deadline
    var cancelReason: PostgreSQLError.Code?
    var cancelAttempts = 0
    var result: Result<Rows, PostgreSQLError>?

    var isStatement: Bool { if case .statement = kind { true } else { false } }
  }

  /// A statement that waits for a cancel request to be over, which would hit it.
  struct Held {
    let statement: Statement
    let parameters: Parameters
    let pending: PendingResult
    let deadline: Deadline
    let since: Deadline
  }

  enum Preparation {
    /// Sent, not confirmed: what follows in the pipeline must not depend on it.
    case sent
    case done
    /// The server has lost the prepared statement, or will not run it any more.
    case refused
  }

  /// Safe to send: it exists once, behind the lock of the connection that it belongs to.
  struct Handle: @unchecked Sendable {
    let pg: OpaquePointer
    init(_ pg: OpaquePointer) { self.pg = pg }
  }

  struct State {
    let reactor: Reactor
    /// `nil` once the connection has failed or was closed.
    var handle: Handle?
    var pg: OpaquePointer? { handle?.pg }
    var failure: PostgreSQLError?
    var socket: Int32 = -1
    var token: UInt64 = 0
    var entries: Deque<Entry> = []
    var held: Deque<Held> = []
    var cancelRequests = 0
    /// Since when there has been one without a pause.
    var cancelSince: Deadline?
    /// By the statement's id; with the types of the parameters that it was prepared for.
    var prepared: [Int: (preparation: Preparation, types: [UInt32])] = [:]
    var mover = Mover.reactor
    /// Of the caller who moves bytes. Made when the first one does.
    var alarm: Alarm?
    /// What the socket is watched for.
    var readable = true
    var writable = false
    var onNotification: (@Sendable (Notification) -> Void)?
    var writeWaiter: PendingResult?
    var onSettled: (@Sendable () -> Void)?

    /// Whether the socket is still this connection's: libpq closes it when it finds it broken, and the number may be another
    /// connection's by now.
    var ownsSocket: Bool { pg.map { PQsocket($0) == socket } ?? false }

    mutating func add(_ entry: Entry) {
      if entries.isEmpty { LoneCaller.connectionBecameBusy() }
      entries.append(entry)
    }

    mutating func removeFirst() -> Entry {
      if entries.count == 1 { LoneCaller.connectionBecameIdle() }
      return entries.removeFirst()
    }
  }

  /// What a `NOTIFY` has sent on a channel that this connection listens on.
  public struct Notification: Sendable, Hashable {
    public let channel: String
    /// Empty where `NOTIFY` gave none.
    public let payload: String
  }

  let state: Mutex<State>
  /// Set while the lock is held, by what libpq reads for the first of the entries.
  let isStandbyGivenUp = Atomic(false)
  package let configuration: ConnectionConfiguration

  /// Rises with every connection that this process makes: one with a lower number was there before.
  package let serial = serials.wrappingAdd(1, ordering: .sequentiallyConsistent).newValue
  package static var newestSerial: UInt64 { serials.load(ordering: .sequentiallyConsistent) }
  private static let serials = Atomic<UInt64>(0)

  private init(_ configuration: ConnectionConfiguration, _ reactor: Reactor) {
    self.configuration = configuration
    state = Mutex(State(reactor: reactor))
  }

  // MARK: Connecting and closing

  /// Connects. libpq does it blocking, on a thread of its own, because only so does it try every host and address and
  /// honour every option of the connection string. The caller closes the connection: nothing else does.
  ///
  /// Cancelling the task ends the wait at once; the attempt goes on without it, until libpq's time for the host is over.
  public static func connect(_ configuration: ConnectionConfiguration) async throws(PostgreSQLError) -> Connection {
    try await ConnectAttempt { connectBlocking(configuration) }.connection()
  }

  private static func connectBlocking(
    _ configuration: ConnectionConfiguration
  ) -> Result<Connection, PostgreSQLError> {
    // A later keyword overrides an earlier one, so the connection string has the last word.
    let seconds = max(2, configuration.connectTimeout.components.seconds)
    // Of several hosts, the one that can be written to and knows how far the log is decided.
    let role = getenv("PGTARGETSESSIONATTRS").map { String(cString: $0) } ?? "primary"
    let settings = [
      ("target_session_attrs", role), ("connect_timeout", String(seconds)),
      ("fallback_application_name", configuration.applicationName),
      ("client_encoding", "UTF8"), ("dbname", configuration.connectionString),
    ]
    if let error = ConnectionString.problem(configuration.connectionString) { return .failure(error) }
    let reactor: Reactor
    do { reactor = try Reactor.shared() } catch { return .failure(error) }
    let pg = withCStrings(settings.map(\.0)) { keywords in
      withCStrings(settings.map(\.1)) { values in PQconnectdbParams(keywords, values, 1) }
    }
    guard let pg else { return .failure(PostgreSQLError(.connectFailed, "libpq is out of memory")) }
    guard PQstatus(pg) == CONNECTION_OK, PQsetnonblocking(pg, 1) == 0, PQenterPipelineMode(pg) == 1 else {
      let error = PostgreSQLError(.connectFailed, ConnectionString.redacted(PostgreSQLError.connectionMessage(pg)))
      PQfinish(pg)
      return .failure(error)
    }
    // What libpq keeps of an error, and puts before the next one, is not to have values of rows in it. (The fields of results
    // stay as they are.)
    PQsetErrorVerbosity(pg, PQERRORS_SQLSTATE)
    let connection = Connection(configuration, reactor)
    connection.receiveNotices(of: pg)
    connection.state.withLock { [handle = Handle(pg)] state in
      state.handle = handle
      state.socket = PQsocket(handle.pg)
      state.token = reactor.register(state.socket, connection)
    }
    return .success(connection)
  }

  /// Closes the connection at once. Statements under way fail with `connectionLost`: the server may still carry them out.
  /// Those that come later fail with `closed`.
  public func close() { fail(PostgreSQLError(.closed, "the connection was closed")) }

  /// Why the connection is of no use any more; `nil` while it works.
  public var failure: PostgreSQLError? { state.withLock { $0.failure } }

  /// Whether one of the statements of the open transaction has failed: it can only be rolled back.
  package var isTransactionFailed: Bool { state.withLock { PQtransactionStatus($0.pg) == PQTRANS_INERROR } }

  /// Whether a transaction was left open.
  var isInTransaction: Bool {
    state.withLock { state in
      let status = PQtransactionStatus(state.pg)
      return status == PQTRANS_INTRANS || status == PQTRANS_INERROR
    }
  }

  /// The server's release, such as 170004 for 17.4; 0 once the connection has failed or was closed.
  public var serverVersion: Int { state.withLock { Int(PQserverVersion($0.pg)) } }

  func fail(_ error: PostgreSQLError) {
    let (abandoned, onSettled) = state.withLock { state in
      (Self.abandon(&state, error), Self.takeOnSettled(&state))
    }
    for (pending, error) in abandoned { pending.complete(.failure(error)) }
    onSettled?()
  }

  private static func abandon(
    _ state: inout State, _ error: PostgreSQLError
  ) -> [(PendingResult, PostgreSQLError)] {
    guard let pg = state.pg else { return [] }
    state.reactor.deregister(state.ownsSocket ? state.socket : nil, state.token)
    PQfinish(pg)
    state.handle = nil
    state.failure = error
    state.ringCaller()
    state.onNotification = nil
    // The server reads what was sent before it learns that nobody waits for it any more.
    let errorOfSent =
      error.code == .closed
      ? PostgreSQLError(.connectionLost, "\(error.message) before the server had answered") : error
    var abandoned = state.entries.map { ($0.pending, errorOfSent) } + state.held.map { ($0.pending, error) }
    for entry in state.entries {
      if case .copyOut(let copy) = entry.kind, let waiter = copy.finish(.failure(errorOfSent)) {
        abandoned.append((waiter, CopyOut.moved))
      }
    }
    if let waiter = state.writeWaiter { abandoned.append((waiter, error)) }
    if !state.entries.isEmpty { LoneCaller.connectionBecameIdle() }
    state.entries.removeAll()
    state.held.removeAll()
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
    let now = Deadline.now
    let held = Held(
      statement: statement, parameters: parameters, pending: pending,
      deadline: now.advanced(by: timeout ?? configuration.statementTimeout), since: now)
    let failure = state.withLock { state -> PostgreSQLError? in
      guard state.pg != nil else { return state.failure }
      guard state.entries.last?.isStatement ?? true else {
        return PostgreSQLError(.unexpectedResult, "a script or COPY is under way on this connection")
      }
      guard parameters.isSendable else {
        return PostgreSQLError(.unexpectedResult, "a statement takes up to 65535 parameters, and 1 GB in all")
      }
      if state.cancelRequests > 0 {
        state.held.append(held)
        return nil
      }
      return submit(held, &state)
    }
    if let failure {
      if failure.code == .connectionLost { fail(failure) }
      pending.complete(.failure(failure))
    }
    return pending
  }

  /// Hands a statement to libpq.
  func submit(_ held: Held, _ state: inout State) -> PostgreSQLError? {
    guard let pg = state.pg else { return state.failure }
    let statement = held.statement
    let types = held.parameters.types
    var preparation = configuration.preparedStatements ? state.prepared[statement.id]?.preparation : .refused
    if let prepared = state.prepared[statement.id], !held.parameters.fit(prepared.types) { preparation = .refused }
    let count = Int32(types.count)
    let sent = held.parameters.withPointers { values, lengths, formats in
      switch preparation {
      case .sent, .refused:
        PQsendQueryParams(pg, statement.sql, count, types, values, lengths, formats, 1) == 1
      case nil:
        PQsendPrepare(pg, statement.name, statement.sql, count, types) == 1
          && PQsendQueryPrepared(pg, statement.name, count, values, lengths, formats, 1) == 1
      case .done:
        PQsendQueryPrepared(pg, statement.name, count, values, lengths, formats, 1) == 1
      }
    }
    guard sent, PQpipelineSync(pg) == 1 else {
      return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg))
    }
    if preparation == nil { state.prepared[statement.id] = (.sent, types) }
    state.add(
      Entry(
        kind: .statement(statement, preparing: preparation == nil), pending: held.pending, deadline: held.deadline))
    if let failure = Self.flush(&state) { return failure }
    // When the socket was full libpq has read meanwhile: the socket will not call for what it holds.
    if PQisBusy(pg) == 0 { Self.watch(&state, readable: state.readable, writable: true) }
    return nil
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
    let pending = PendingResult(self)
    try await begin(.script, pending, sql, timeout: timeout)
    return try await pending.rows()
  }

  private static let nothing = Statement("")

  /// Leaves pipeline mode and sends `sql` by the simple protocol.
  func begin(
    _ kind: Entry.Kind, _ pending: PendingResult, _ sql: String, timeout: Duration?
  ) async throws(PostgreSQLError) {
    guard !sql.utf8.contains(0) else {
      throw PostgreSQLError(.unexpectedResult, "the SQL has a zero byte in it: what follows would not be sent")
    }
    // Whatever is still under way, and a cancel request too, ends before an empty statement does; which a transaction that
    // has failed refuses.
    if state.withLock({ !$0.entries.isEmpty || $0.cancelRequests > 0 }) {
      do throws(PostgreSQLError) {
        try await execute(Self.nothing)
      } catch {
        guard error.code == .server else { throw error }
      }
    }
    let deadline = Deadline.now.advanced(by: timeout ?? configuration.statementTimeout)
    let failure = state.withLock { state -> PostgreSQLError? in
      guard let pg = state.pg else { return state.failure }
      Self.returnToReactor(&state)
      guard state.entries.isEmpty, state.cancelRequests == 0, PQexitPipelineMode(pg) == 1 else {
        return PostgreSQLError(.unexpectedResult, "other statements are under way on this connection")
      }
      guard PQsendQuery(pg, sql) == 1 else {
        return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg))
      }
      state.add(Entry(kind: kind, pending: pending, deadline: deadline))
      return Self.flush(&state)
    }
    if let failure {
      if failure.code == .connectionLost { fail(failure) }
      throw failure
    }
  }

  /// Calls `handler`, on the reactor's thread, for every notification that arrives. It must not block. It takes the
  /// place of the handler before it.
  public func onNotification(_ handler: @escaping @Sendable (Notification) -> Void) {
    state.withLock { $0.onNotification = handler }
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
