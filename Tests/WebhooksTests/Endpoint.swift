import Foundation
import Synchronization

/// An HTTP endpoint on this machine: writes down what is posted, and answers as it is told.
final class Endpoint: Sendable {
  struct Request: Sendable {
    let headers: [String: String]
    let body: String
  }

  let port: UInt16
  private let socket: Int32
  private let requests = Mutex<[Request]>([])
  private let answer: @Sendable (Request) -> String
  private let drip: (@Sendable (Int) -> [UInt8]?)?
  private let dripped = Atomic<Int>(0)

  /// Bytes that were taken of what ``init(_:drip:)`` gives.
  var taken: Int { dripped.load(ordering: .relaxed) }
  var all: [Request] { requests.withLock { $0 } }
  var url: String { "http://127.0.0.1:\(port)/events" }

  /// - Parameters:
  ///   - answer: The status line's rest and further headers, each ended by CR LF: `200 OK\r\n`.
  ///   - drip: What comes after that, piece by piece, until it gives nothing or nobody takes it.
  init(
    _ answer: @escaping @Sendable (Request) -> String, drip: (@Sendable (Int) -> [UInt8]?)? = nil
  ) throws {
    self.answer = answer
    self.drip = drip
    let made = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(made, address, length) == 0 && listen(made, 64) == 0 && getsockname(made, address, &length) == 0
      }
    }
    guard isBound else { throw CocoaError(.fileReadUnknown) }
    socket = made
    port = UInt16(bigEndian: address.sin_port)
    Thread { [self] in
      while true {
        let connection = accept(socket, nil, nil)
        guard connection >= 0 else { return }
        Thread { self.serve(connection) }.start()
      }
    }.start()
  }

  func close() { shutdown(socket, Int32(SHUT_RDWR)) }

  /// One request a connection.
  private func serve(_ connection: Int32) {
    defer { Glibc.close(connection) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let text = String(decoding: bytes, as: UTF8.self)
      if let end = text.range(of: "\r\n\r\n") {
        var headers: [String: String] = [:]
        for line in text[..<end.lowerBound].components(separatedBy: "\r\n").dropFirst() {
          let parts = line.split(separator: ":", maxSplits: 1)
          if parts.count == 2 { headers[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces) }
        }
        let body = String(text[end.upperBound...])
        if body.utf8.count >= Int(headers["content-length"] ?? "0") ?? 0 {
          let request = Request(headers: headers, body: body)
          requests.withLock { $0.append(request) }
          let reply =
            "HTTP/1.1 \(answer(request))" + (drip == nil ? "Content-Length: 0\r\nConnection: close\r\n\r\n" : "")
          _ = reply.utf8CString.withUnsafeBytes {
            send(connection, $0.baseAddress, $0.count - 1, Int32(MSG_NOSIGNAL))
          }
          var number = 0
          while let piece = drip?(number) {
            let sent = send(connection, piece, piece.count, Int32(MSG_NOSIGNAL))
            guard sent > 0 else { return }
            dripped.add(sent, ordering: .relaxed)
            number += 1
          }
          return
        }
      }
      let count = read(connection, &chunk, chunk.count)
      guard count > 0 else { return }
      bytes += chunk[..<count]
    }
  }
}
