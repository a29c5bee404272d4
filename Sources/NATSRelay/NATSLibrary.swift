#if NATS
  internal import CNATS
  internal import Glibc

  /// A connection of the library, with what belongs to it.
  ///
  /// Safe as `@unchecked Sendable`: the pointers are set once, and freed when nobody has them any more; the library's functions may be
  /// called from any thread.
  final class NATSLibrary: @unchecked Sendable {
    private var options: OpaquePointer?
    private var connection: OpaquePointer?
    private var stream: OpaquePointer?
    private let milliseconds: Int64
    /// The library calls back from its own threads, also for a moment after a connection was closed: so it has a reference that is
    /// never given back, of a few bytes for each connection that was made.
    private let waiting: Waiting

    /// Whether the library has given it up: it does when the server refuses it for good.
    var isClosed: Bool { waiting.isClosed }

    /// - Throws: ``NATSUnavailable``.
    init(_ servers: [String], credentials: String?, name: String, seconds: Double) throws {
      milliseconds = Int64(seconds * 1000)
      waiting = Waiting(patience: .seconds(seconds + 2))
      try Self.check(natsOptions_Create(&options))
      let copies = servers.map { strdup($0) }
      defer { for copy in copies { free(copy) } }
      var list = copies.map { UnsafePointer($0) }
      try Self.check(natsOptions_SetServers(options, &list, Int32(list.count)))
      try Self.check(natsOptions_SetName(options, name))
      try Self.check(natsOptions_SetTimeout(options, milliseconds))
      try Self.check(natsOptions_SetWriteDeadline(options, milliseconds))
      if let credentials { try Self.check(natsOptions_SetUserCredentialsFromFiles(options, credentials, nil)) }
      // As long as it takes: what waits for it has a time-out of its own.
      try Self.check(natsOptions_SetMaxReconnect(options, -1))
      try Self.check(natsOptions_SetReconnectWait(options, 250))
      // Nothing is kept to be sent later, perhaps after someone else has sent what comes after it.
      try Self.check(natsOptions_SetReconnectBufSize(options, 1))
      let reference = Unmanaged.passRetained(waiting)
      let closure = reference.toOpaque()
      do {
        try Self.check(
          natsOptions_SetClosedCB(
            options, { _, closure in if let closure { Waiting.from(closure).close() } }, closure))
        try Self.check(natsConnection_Connect(&connection, options))
      } catch {
        // There is no connection that could call back.
        reference.release()
        throw error
      }
      var settings = jsOptions()
      jsOptions_Init(&settings)
      settings.PublishAsync.AckHandler = { _, message, confirmed, problem, closure in
        guard let message, let closure else { return }
        let confirmation = NATSLibrary.confirmation(confirmed?.pointee, problem?.pointee)
        Waiting.from(closure).take(message)?.resume(returning: confirmation)
        natsMsg_Destroy(message)
      }
      settings.PublishAsync.AckHandlerClosure = closure
      try Self.check(natsConnection_JetStream(&stream, connection, &settings))
    }

    deinit {
      jsCtx_Destroy(stream)
      natsConnection_Destroy(connection)
      natsOptions_Destroy(options)
    }

    private static func check(_ status: natsStatus) throws {
      guard status == NATS_OK else { throw NATSUnavailable(problem: String(cString: natsStatus_GetText(status))) }
    }

    /// Another service on the subject may answer, too: only a stream that says where it has put the message has stored it.
    private static func confirmation(_ confirmed: jsPubAck?, _ problem: jsPubAckErr?) -> Confirmation {
      if let problem {
        return .refused(
          status: problem.Err.rawValue, error: problem.ErrCode.rawValue,
          text: problem.ErrText.map { String(cString: $0) } ?? String(cString: natsStatus_GetText(problem.Err)))
      }
      guard let confirmed, confirmed.Stream != nil, confirmed.Sequence > 0 else { return .refused(NATS_NO_RESPONDERS) }
      return .stored
    }

    func publish(_ message: NATSConnection.Message, _ continuation: CheckedContinuation<Confirmation, any Error>) {
      var pointer: OpaquePointer?
      var status = message.data.withUnsafeBytes { bytes in
        natsMsg_Create(
          &pointer, message.subject, nil, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(bytes.count))
      }
      guard status == NATS_OK, let sent = pointer else { return continuation.resume(returning: .refused(status)) }
      for (key, value) in message.headers where status == NATS_OK { status = natsMsgHeader_Set(sent, key, value) }
      // Before it is sent: the answer may be faster than what comes after that.
      waiting.add(sent, continuation)
      if status == NATS_OK {
        var options = jsPubOptions()
        jsPubOptions_Init(&options)
        options.MaxWait = milliseconds
        if let id = message.id {
          status = id.withCString { id in
            options.MsgId = id
            return js_PublishMsgAsync(stream, &pointer, &options)
          }
        } else {
          status = js_PublishMsgAsync(stream, &pointer, &options)
        }
      }
      if status != NATS_OK {
        // It was not sent, and stays ours.
        waiting.take(sent)?.resume(returning: .refused(status))
        natsMsg_Destroy(sent)
      }
    }
  }
#endif
