internal import CPostgreSQL
internal import Glibc
internal import Synchronization

extension Connection {
  /// Runs `COPY … TO STDOUT` and gives its rows in chunks. The connection does nothing else until the end.
  ///
  /// Reading follows the consumer: the socket is left alone while about 1 MiB waits here.
  public func copyOut(_ sql: String, timeout: Duration = .seconds(86400)) async throws(PostgreSQLError) -> CopyOut {
    let copy = CopyOut(self)
    try await begin(.copyOut(copy), copy.ended, sql, timeout: timeout)
    return copy
  }

  /// Runs `COPY … FROM STDIN` with what `body` writes; returns how many rows the server took. If `body` throws,
  /// the copy fails on the server and nothing is kept.
  ///
  /// - Throws: What `body` throws; or ``PostgreSQLError``: what the server does not like about the data it says when
  ///   all of them are sent.
  public func copyIn(
    _ sql: String, timeout: Duration = .seconds(86400), _ body: (CopyIn) async throws -> Void
  ) async throws -> Int {
    let copy = CopyIn(self)
    try await begin(.copyIn(copy), copy.begun, sql, timeout: timeout)
    try await copy.begun.rows()
    do {
      try await body(copy)
    } catch {
      _ = try? await copy.end("the client gave up")
      throw error
    }
    return try await copy.end(nil).affected
  }
}

/// The rows of a `COPY … TO STDOUT`.
public final class CopyOut: Sendable {
  /// Rows one after the other, as the server sent them; row `i` ends at `ends[i]`.
  public struct Chunk: Sendable {
    /// In the format that the statement names. In text and CSV format each row ends with a line feed.
    public var bytes: [UInt8] = []
    /// Ascending, in ``bytes``: where one row ends the next begins.
    public var ends: [Int] = []
  }

  enum Progress { case more, full, end }

  private struct State {
    var started = false
    var reading = false
    var full = false
    var chunk = Chunk()
    var end: Result<Void, PostgreSQLError>?
    var waiter: PendingResult?
  }

  private static let limit = 1 << 20
  private let state = Mutex(State())
  private let connection: Connection
  let ended: PendingResult

  init(_ connection: Connection) {
    self.connection = connection
    ended = PendingResult(connection)
  }

  var isReading: Bool { state.withLock { $0.reading } }

  func start() {
    state.withLock { state in
      state.started = true
      state.reading = true
    }
  }

  /// Takes the rows that libpq has. Called with the connection locked.
  ///
  /// - Returns: Also who waits for them, to be told when the connection is locked no more: someone who cancels him locks it.
  func read(_ pg: OpaquePointer) -> (Progress, PendingResult?) {
    state.withLock { state in
      var progress = Progress.more
      while true {
        if state.chunk.bytes.count >= Self.limit {
          state.full = true
          progress = .full
          break
        }
        var row: UnsafeMutablePointer<CChar>?
        let count = PQgetCopyData(pg, &row, 1)
        if count > 0, let row {
          state.chunk.bytes.append(contentsOf: UnsafeRawBufferPointer(start: row, count: Int(count)))
          state.chunk.ends.append(state.chunk.bytes.count)
          PQfreemem(row)
          continue
        }
        if count < 0 {
          state.reading = false
          progress = .end
        }
        break
      }
      guard !state.chunk.ends.isEmpty else { return (progress, nil) }
      defer { state.waiter = nil }
      return (progress, state.waiter)
    }
  }

  /// - Returns: Who waits for it, to be told as ``read(_:)`` says.
  func finish(_ result: Result<Rows, PostgreSQLError>) -> PendingResult? {
    state.withLock { state in
      state.reading = false
      let started = state.started
      state.end = result.flatMap { _ in started ? .success(()) : .failure(Self.noCopy) }
      defer { state.waiter = nil }
      return state.waiter
    }
  }

  /// That there is something to look at.
  static let moved = PostgreSQLError(.cancelled, "a COPY has gone on")
  private static let noCopy = PostgreSQLError(.unexpectedResult, "the statement is no COPY … TO STDOUT")

  /// The next rows; `nil` at the end. To be called by one task at a time; when that is cancelled the COPY is too.
  public func next() async throws(PostgreSQLError) -> Chunk? {
    while true {
      let (chunk, end, wasFull) = state.withLock { state in
        let wasFull = state.full
        state.full = false
        let chunk = state.chunk.ends.isEmpty ? nil : state.chunk
        state.chunk = Chunk()
        return (chunk, state.end, wasFull)
      }
      if wasFull {
        connection.state.withLock { Connection.watch(&$0, readable: true, writable: $0.writable) }
        connection.advance(as: .reactor, readable: false)
      }
      if let chunk { return chunk }
      if let end {
        try end.get()
        return nil
      }
      let moved = PendingResult(connection)
      let mustWait = state.withLock { state in
        guard state.chunk.ends.isEmpty, state.end == nil else { return false }
        state.waiter = moved
        return true
      }
      guard mustWait else { continue }
      await withTaskCancellationHandler {
        _ = await moved.outcome()
      } onCancel: {
        connection.cancel(ended)
      }
    }
  }
}

/// Takes the data of a `COPY … FROM STDIN`, from one task at a time.
public final class CopyIn: Sendable {
  private let connection: Connection
  /// The server waits for data.
  let begun: PendingResult
  let ended: PendingResult

  init(_ connection: Connection) {
    self.connection = connection
    begun = PendingResult(connection)
    ended = PendingResult(connection)
  }

  /// Sends bytes, in the format that the statement names. Waits while the server is behind. A row may be divided among
  /// several calls.
  public func write(_ bytes: [UInt8]) async throws(PostgreSQLError) {
    // In pieces: a message has at most 1 GB, and libpq copies each whole.
    var start = 0
    repeat {
      let end = min(bytes.count, start + Self.mostAtOnce)
      try await write(bytes[start..<end])
      start = end
    } while start < bytes.count
  }

  private static let mostAtOnce = 1 << 20

  private func write(_ bytes: ArraySlice<UInt8>) async throws(PostgreSQLError) {
    while true {
      let room = PendingResult(connection)
      let outcome = connection.state.withLock { state -> Result<Bool, PostgreSQLError> in
        guard let pg = state.pg else { return .failure(state.failure ?? Self.lost) }
        // Bounded here: libpq would take everything into its own memory.
        if state.writable {
          state.writeWaiter = room
          return .success(false)
        }
        let put = bytes.withUnsafeBytes { raw in
          PQputCopyData(pg, raw.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(raw.count))
        }
        guard put == 1 else {
          return .failure(PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg)))
        }
        if let failure = Connection.flush(&state) { return .failure(failure) }
        return .success(true)
      }
      do {
        if try outcome.get() { return }
      } catch {
        connection.fail(error)
        throw error
      }
      await withTaskCancellationHandler {
        _ = await room.outcome()
      } onCancel: {
        connection.cancel(ended)
      }
    }
  }

  private static let lost = PostgreSQLError(.connectionLost, "the connection was lost")
  static let noCopy = PostgreSQLError(.unexpectedResult, "the statement is no COPY … FROM STDIN")

  func end(_ problem: String?) async throws(PostgreSQLError) -> Rows {
    let failure = connection.state.withLock { state -> PostgreSQLError? in
      guard let pg = state.pg else { return state.failure ?? Self.lost }
      guard PQputCopyEnd(pg, problem) == 1 else {
        return PostgreSQLError(.connectionLost, PostgreSQLError.connectionMessage(pg))
      }
      return Connection.flush(&state)
    }
    if let failure {
      connection.fail(failure)
      throw failure
    }
    // The server may have refused the data long ago: then its answer has been read, and nothing more will come.
    connection.advance(as: .reactor, readable: false)
    return try await ended.rows()
  }
}
