#if NATS
  internal import CNATS
  internal import Dispatch
  internal import Glibc
  internal import Synchronization

  /// What became of a message.
  enum Confirmation: Sendable, Equatable {
    case stored
    /// - Parameter error: JetStream's own number, or 0.
    case refused(status: UInt32, error: UInt32, text: String)
  }

  /// One connection to JetStream, made when it is needed; the library keeps it, and makes it again when it is lost.
  final class NATSConnection: Sendable {
    private struct State {
      var library: Library?
    }
    /// Pointers of the library, whose functions may be called from any thread.
    ///
    /// Safe as `@unchecked Sendable`: they are set once, and freed when nobody has them any more.
    private final class Library: @unchecked Sendable {
      var options: OpaquePointer?
      var connection: OpaquePointer?
      var stream: OpaquePointer?

      deinit {
        jsCtx_Destroy(stream)
        natsConnection_Destroy(connection)
        natsOptions_Destroy(options)
      }
    }
    private let state = Mutex(State())
    private let servers: [String]
    private let credentials: String?
    private let name: String
    /// Milliseconds.
    private let timeout: Int64
    private let waiting = Waiting()
    private let queue = DispatchQueue(label: "nats-relay")

    init(_ servers: [String], credentials: String?, name: String, timeout: Double) {
      self.servers = servers
      self.credentials = credentials
      self.name = name
      self.timeout = Int64(timeout * 1000)
    }

    /// Those who wait for a confirmation, by the message that they have sent.
    ///
    /// The library calls ``confirm(_:_:)`` from its own threads, also for a moment after a connection was closed: so it keeps a
    /// reference that is never given back, of a few bytes for each relay of a process.
    fileprivate final class Waiting: Sendable {
      private let continuations = Mutex<[UInt: CheckedContinuation<Confirmation, any Error>]>([:])

      func add(_ message: OpaquePointer, _ continuation: CheckedContinuation<Confirmation, any Error>) {
        continuations.withLock { $0[UInt(bitPattern: message)] = continuation }
      }

      func take(_ message: OpaquePointer) -> CheckedContinuation<Confirmation, any Error>? {
        continuations.withLock { $0.removeValue(forKey: UInt(bitPattern: message)) }
      }
    }

    /// Publishes a message, and waits until JetStream has stored it, or refused it, or did not answer in time.
    ///
    /// Does not heed cancellation: it ends by itself after the time-out.
    ///
    /// - Parameter id: For JetStream, which stores a message of this id once in the stream's duplicate window; `nil`: always.
    /// - Throws: ``NATSUnavailable``.
    func publish(_ data: [UInt8], to subject: String, id: String?, headers: [(String, String)]) async throws
      -> Confirmation
    {
      let library = try await connected()
      return try await withCheckedThrowingContinuation { continuation in
        var message: OpaquePointer?
        var status = data.withUnsafeBytes { bytes in
          natsMsg_Create(
            &message, subject, nil, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
        }
        guard status == NATS_OK, let sent = message else {
          return continuation.resume(returning: Self.refused(status))
        }
        for (key, value) in headers where status == NATS_OK { status = natsMsgHeader_Set(sent, key, value) }
        var options = jsPubOptions()
        jsPubOptions_Init(&options)
        options.MaxWait = timeout
        // Before it is sent: the answer may be faster than what comes after that.
        waiting.add(sent, continuation)
        if status == NATS_OK {
          if let id {
            status = id.withCString { id in
              options.MsgId = id
              return js_PublishMsgAsync(library.stream, &message, &options)
            }
          } else {
            status = js_PublishMsgAsync(library.stream, &message, &options)
          }
        }
        if status != NATS_OK {
          // It was not sent, and stays ours.
          waiting.take(sent)?.resume(returning: Self.refused(status))
          natsMsg_Destroy(sent)
        }
      }
    }

    private static func refused(_ status: natsStatus) -> Confirmation {
      .refused(status: status.rawValue, error: 0, text: String(cString: natsStatus_GetText(status)))
    }

    private func connected() async throws -> Library {
      if let library = state.withLock({ $0.library }) { return library }
      // It may take as long as a connection takes.
      return try await withCheckedThrowingContinuation { continuation in
        queue.async {
          continuation.resume(
            with: Result {
              if let library = self.state.withLock({ $0.library }) { return library }
              let library = try self.connect()
              self.state.withLock { $0.library = library }
              return library
            })
        }
      }
    }

    private func connect() throws -> Library {
      let library = Library()
      func check(_ status: natsStatus) throws {
        guard status == NATS_OK else { throw NATSUnavailable(problem: String(cString: natsStatus_GetText(status))) }
      }
      try check(natsOptions_Create(&library.options))
      let copies = servers.map { strdup($0) }
      defer { for copy in copies { free(copy) } }
      var list = copies.map { UnsafePointer($0) }
      try check(natsOptions_SetServers(library.options, &list, Int32(list.count)))
      try check(natsOptions_SetName(library.options, name))
      try check(natsOptions_SetTimeout(library.options, timeout))
      if let credentials { try check(natsOptions_SetUserCredentialsFromFiles(library.options, credentials, nil)) }
      // For ever, and at once: what waits for it has a time-out of its own.
      try check(natsOptions_SetMaxReconnect(library.options, -1))
      try check(natsOptions_SetReconnectWait(library.options, 250))
      try check(natsConnection_Connect(&library.connection, library.options))
      var options = jsOptions()
      jsOptions_Init(&options)
      options.PublishAsync.AckHandler = { _, message, confirmed, problem, closure in
        guard let message, let closure else { return }
        let waiting = Unmanaged<Waiting>.fromOpaque(closure).takeUnretainedValue()
        let continuation = waiting.take(message)
        natsMsg_Destroy(message)
        guard confirmed == nil, let problem = problem?.pointee else {
          continuation?.resume(returning: .stored)
          return
        }
        continuation?.resume(
          returning: .refused(
            status: problem.Err.rawValue, error: problem.ErrCode.rawValue,
            text: problem.ErrText.map { String(cString: $0) } ?? String(cString: natsStatus_GetText(problem.Err))))
      }
      options.PublishAsync.AckHandlerClosure = Unmanaged.passRetained(waiting).toOpaque()
      try check(natsConnection_JetStream(&library.stream, library.connection, &options))
      return library
    }
  }

  /// The server cannot be reached.
  struct NATSUnavailable: Error {
    let problem: String
  }
#endif
