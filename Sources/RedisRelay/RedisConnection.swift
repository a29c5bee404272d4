#if Redis
  internal import CHiredis
  internal import Dispatch
  internal import Glibc

  /// What a server answers.
  enum RedisReply: Sendable, Equatable {
    case text(String)
    case integer(Int)
    case error(String)
    case list([RedisReply])
    case null
  }

  /// The server cannot be reached, or does not answer in time.
  struct RedisUnavailable: Error {
    let problem: String
  }

  /// The server did not do what it was asked.
  struct RedisRefusal: Error {
    /// The first of its answers that says why.
    let answer: String

    init(_ replies: [RedisReply]) {
      answer = replies.lazy.compactMap { if case .error(let answer) = $0 { answer } else { nil } }.first ?? "no reason"
    }
  }

  /// One connection, made when it is needed and again after it was lost.
  ///
  /// hiredis waits for answers in its thread: so that it is none of Swift's few, all calls run on a queue of their own.
  ///
  /// Safe as `@unchecked Sendable`: `context` is touched on `queue` alone, which is serial, and at the end, when nobody else can.
  final class RedisConnection: @unchecked Sendable {
    private let server: RedisServer
    private let timeout: Double
    private let queue = DispatchQueue(label: "redis-relay")
    private var context: UnsafeMutablePointer<redisContext>?
    /// The server that it leads to is not the one that is meant, for now.
    private var isAstray = false

    init(_ server: RedisServer, timeout: Double) {
      self.server = server
      self.timeout = timeout
    }

    deinit {
      if let context { redisFree(context) }
    }

    /// Sends commands at once, and returns their answers in order.
    ///
    /// - Throws: ``RedisUnavailable``: what became of them is not known.
    func run(_ commands: [[String]]) async throws -> [RedisReply] {
      try await onQueue { try self.send(commands) }
    }

    /// Runs commands all or none: `MULTI`, and, when that is well, the rest with `EXEC`.
    ///
    /// - Returns: Their answers, if they were done; else the errors that kept them from it.
    /// - Throws: ``RedisUnavailable``: what became of them is not known.
    func transaction(_ commands: [[String]]) async throws -> Result<[RedisReply], RedisRefusal> {
      try await onQueue {
        // By itself: were it refused, the rest would be done one by one.
        let begun = try self.send([["MULTI"]])
        guard begun == [.text("OK")] else { return .failure(RedisRefusal(begun)) }
        let replies = try self.send(commands + [["EXEC"]])
        guard case .list(let done) = replies[commands.count], done.count == commands.count else {
          return .failure(RedisRefusal(replies))
        }
        return .success(done)
      }
    }

    private func onQueue<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
      try await withCheckedThrowingContinuation { continuation in
        queue.async {
          continuation.resume(with: Result { try self.withoutSIGPIPE { try self.connected(body) } })
        }
      }
    }

    // MARK: On the queue

    private func connected<R>(_ body: () throws -> R) throws -> R {
      if context == nil { try connect() }
      do {
        let result = try body()
        // The next attempt finds out anew which server it is.
        if isAstray { close() }
        return result
      } catch {
        close()
        throw error
      }
    }

    private func close() {
      if let context { redisFree(context) }
      context = nil
      isAstray = false
    }

    private func connect() throws {
      let limit = timeval(tv_sec: Int(timeout), tv_usec: Int(timeout.truncatingRemainder(dividingBy: 1) * 1e6))
      let made =
        switch server.address {
        case .tcp(let host, let port): redisConnectWithTimeout(host, port, limit)
        case .unix(let path): redisConnectUnixWithTimeout(path, limit)
        }
      guard let made else { throw RedisUnavailable(problem: "no memory for a connection") }
      context = made
      do {
        guard made.pointee.err == 0 else { throw problem }
        redisSetTimeout(made, limit)
        var greetings: [[String]] = []
        if let password = server.password { greetings.append(["AUTH"] + (server.user.map { [$0] } ?? []) + [password]) }
        if server.database > 0 { greetings.append(["SELECT", "\(server.database)"]) }
        for case .error(let answer) in try send(greetings) { throw RedisUnavailable(problem: answer) }
      } catch {
        close()
        throw error
      }
    }

    private var problem: RedisUnavailable {
      guard let context else { return RedisUnavailable(problem: "there is no connection") }
      let text = withUnsafeBytes(of: context.pointee.errstr) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      return RedisUnavailable(problem: text.isEmpty ? "the connection is lost" : text)
    }

    private func send(_ commands: [[String]]) throws -> [RedisReply] {
      guard let context else { throw problem }
      for command in commands {
        // The bytes of all words, one after the other, and where each begins.
        let words = command.map { Array($0.utf8) }
        let bytes = words.flatMap { $0 }
        let status = bytes.withUnsafeBufferPointer { bytes in
          bytes.withMemoryRebound(to: CChar.self) { bytes in
            var place = bytes.baseAddress
            var starts: [UnsafePointer<CChar>?] = []
            for word in words {
              starts.append(place)
              place = place.map { $0 + word.count }
            }
            let lengths = words.map(\.count)
            return redisAppendCommandArgv(context, Int32(words.count), &starts, lengths)
          }
        }
        guard status == REDIS_OK else { throw problem }
      }
      return try commands.map { _ in
        var reply: UnsafeMutableRawPointer?
        guard redisGetReply(context, &reply) == REDIS_OK, let reply else { throw problem }
        defer { freeReplyObject(reply) }
        let answer = Self.reply(reply.assumingMemoryBound(to: redisReply.self).pointee)
        if Self.isOfAnother(answer) { isAstray = true }
        return answer
      }
    }

    /// A server that has become a replica, or has begun anew, says so for as long as one stays connected to it, while its name or
    /// address may lead to another by now.
    private static func isOfAnother(_ reply: RedisReply) -> Bool {
      switch reply {
      case .error(let answer): ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH"].contains { answer.hasPrefix($0) }
      case .list(let replies): replies.contains(where: isOfAnother)
      case .text, .integer, .null: false
      }
    }

    private static func reply(_ reply: redisReply) -> RedisReply {
      func text() -> String {
        String(decoding: UnsafeRawBufferPointer(start: reply.str, count: reply.len), as: UTF8.self)
      }
      switch reply.type {
      case REDIS_REPLY_STATUS, REDIS_REPLY_STRING: return .text(text())
      case REDIS_REPLY_INTEGER: return .integer(Int(reply.integer))
      case REDIS_REPLY_ERROR: return .error(text())
      case REDIS_REPLY_ARRAY:
        return .list(
          (0..<reply.elements).map { index in reply.element[index].map { self.reply($0.pointee) } ?? .null })
      default: return .null
      }
    }

    /// hiredis writes to a connection that may be gone: that must end the write and not the process.
    private func withoutSIGPIPE<R>(_ body: () throws -> R) rethrows -> R {
      var pipe = sigset_t()
      sigemptyset(&pipe)
      sigaddset(&pipe, SIGPIPE)
      var before = sigset_t()
      pthread_sigmask(SIG_BLOCK, &pipe, &before)
      defer {
        // One that has come meanwhile is taken, or it would come when it is let through.
        var now = timespec()
        while sigtimedwait(&pipe, nil, &now) >= 0 {}
        pthread_sigmask(SIG_SETMASK, &before, nil)
      }
      return try body()
    }
  }
#endif
