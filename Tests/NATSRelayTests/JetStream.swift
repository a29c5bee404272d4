#if NATS
  import CNATS
  import Foundation
  import TestSupport

  /// A server with JetStream, and a client that looks at what is in it.
  ///
  /// Safe as `@unchecked Sendable`: one test uses it, from one task at a time.
  final class JetStream: @unchecked Sendable {
    struct Failed: Error, CustomStringConvertible {
      let description: String
    }
    struct Message {
      var data: [String: Any]
      var id: String?
      var key: String?
      var traceparent: String?
    }

    let server: ServerProcess
    /// Chosen once, so that it is the same after a restart.
    let url: String

    init(port: Int, user: String? = nil) throws {
      url = "nats://\(user.map { "\($0)@" } ?? "")127.0.0.1:\(port)"
      server = try ServerProcess("nats-server", further: Self.login(user)) { folder in
        ["-a", "127.0.0.1", "-p", "\(port)", "-js", "-sd", folder.path]
      }
    }

    /// The arguments that let only this one in: `name:password`.
    static func login(_ user: String?) -> [String] {
      guard let parts = user?.split(separator: ":").map(String.init), parts.count == 2 else { return [] }
      return ["--user", parts[0], "--pass", parts[1]]
    }

    private static func check(_ status: natsStatus, _ what: String) throws {
      guard status == NATS_OK else {
        throw Failed(description: "\(what): \(String(cString: natsStatus_GetText(status)))")
      }
    }

    private func connected<R>(_ body: (OpaquePointer?) throws -> R) throws -> R {
      var options: OpaquePointer?
      var connection: OpaquePointer?
      var stream: OpaquePointer?
      defer {
        jsCtx_Destroy(stream)
        natsConnection_Destroy(connection)
        natsOptions_Destroy(options)
      }
      try Self.check(natsOptions_Create(&options), "options")
      try Self.check(natsOptions_SetURL(options, url), "url")
      var status = NATS_ERR
      for _ in 0..<500 {
        status = natsConnection_Connect(&connection, options)
        if status == NATS_OK { break }
        usleep(10_000)
      }
      try Self.check(status, "connect")
      try Self.check(natsConnection_JetStream(&stream, connection, nil), "JetStream")
      return try body(stream)
    }

    /// - Parameter largest: Bytes of a message.
    func makeStream(_ subjects: String, largest: Int32 = -1) throws {
      try connected { stream in
        var name = Array("EVENTS".utf8CString)
        var subjects = Array(subjects.utf8CString)
        try name.withUnsafeMutableBufferPointer { name in
          try subjects.withUnsafeMutableBufferPointer { subjects in
            var list: [UnsafePointer<CChar>?] = [UnsafePointer(subjects.baseAddress)]
            try list.withUnsafeMutableBufferPointer { list in
              var configuration = jsStreamConfig()
              jsStreamConfig_Init(&configuration)
              configuration.Name = UnsafePointer(name.baseAddress)
              configuration.Subjects = list.baseAddress
              configuration.SubjectsLen = 1
              configuration.MaxMsgSize = largest
              // It may be that JetStream is not ready though the server is.
              var status = NATS_ERR
              for _ in 0..<200 {
                var error = jsErrCode(rawValue: 0)
                status = js_AddStream(nil, stream, &configuration, nil, &error)
                if status == NATS_OK { break }
                usleep(20_000)
              }
              try Self.check(status, "stream")
            }
          }
        }
      }
    }

    /// All messages of the stream, in order.
    func messages() throws -> [Message] {
      try connected { stream in
        var count: UInt64 = 0
        var status = NATS_ERR
        for _ in 0..<200 {
          var info: UnsafeMutablePointer<jsStreamInfo>?
          status = js_GetStreamInfo(&info, stream, "EVENTS", nil, nil)
          if status == NATS_OK, let info {
            count = info.pointee.State.Msgs
            jsStreamInfo_Destroy(info)
            break
          }
          usleep(20_000)
        }
        try Self.check(status, "stream's state")
        var subscription: OpaquePointer?
        var options = jsSubOptions()
        jsSubOptions_Init(&options)
        options.Ordered = true
        try Self.check(js_SubscribeSync(&subscription, stream, "events.>", nil, &options, nil), "subscribe")
        defer { natsSubscription_Destroy(subscription) }
        var messages: [Message] = []
        while messages.count < count {
          var message: OpaquePointer?
          try Self.check(
            natsSubscription_NextMsg(&message, subscription, 5_000), "message \(messages.count + 1) of \(count)")
          defer { natsMsg_Destroy(message) }
          let bytes = UnsafeRawBufferPointer(
            start: natsMsg_GetData(message), count: Int(natsMsg_GetDataLength(message)))
          guard let data = try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any] else {
            throw Failed(description: "no object")
          }
          func header(_ name: String) -> String? {
            var value: UnsafePointer<CChar>?
            return natsMsgHeader_Get(message, name, &value) == NATS_OK ? value.map { String(cString: $0) } : nil
          }
          messages.append(
            Message(data: data, id: header("Nats-Msg-Id"), key: header("key"), traceparent: header("traceparent")))
        }
        return messages
      }
    }
  }

  /// A port of this machine that nobody listens on just now.
  func freePort() throws -> Int {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(socket) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let found = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(socket, address, length) == 0 && getsockname(socket, address, &length) == 0
      }
    }
    guard found else { throw JetStream.Failed(description: "no port is free") }
    return Int(UInt16(bigEndian: address.sin_port))
  }
#endif
