import EventStore
import Foundation
import Outbox
import Synchronization
import TestSupport
import Testing

@testable import Webhooks

@Suite("Webhooks", .database, .timeLimit(.minutes(15)))
struct WebhookTests {
  private static let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

  @Test("the signature of the specification's own example")
  func signature() {
    // From the Standard Webhooks libraries' tests.
    let key = Array(Data(base64Encoded: "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") ?? Data())
    let found = WebhookRelay.signature(
      id: "msg_p5jXN8AQM9LWM0D4loKWxJek", time: 1_614_265_330, body: Array(#"{"test": 2432232314}"#.utf8), secret: key)
    #expect(found == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
  }

  @Test("each event arrives as a signed CloudEvent, those of a stream in order, also past an endpoint that fails")
  func forwards() async throws {
    try await TestDatabase.required.withLog { log in
      for number in 1...5 {
        try await log.append(
          [
            EventData(
              type: "made", payload: .json("{\"n\":\(number)}"),
              metadata: Metadata(
                correlationID: "c-1", traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
          ],
          to: "item-1", expecting: .any)
      }
      try await log.append(
        [EventData(type: "raw", payload: Payload(bytes: [0, 255, 7], content: .bytes))], to: "item-2",
        expecting: .noStream)
      let count = Mutex(0)
      let endpoint = try Endpoint { request in
        let number = count.withLock { count in
          count += 1
          return count
        }
        // Overloaded, broken, then well.
        if number == 2 { return "429 Too Many Requests\r\nRetry-After: 0\r\n" }
        return number == 4 ? "500 Oh\r\n" : number == 5 ? "302 Found\r\nLocation: /elsewhere\r\n" : "204 No Content\r\n"
      }
      defer { endpoint.close() }
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup("hook", policy: GroupPolicy(retry: RetryPolicy(.fixed(0.01), attempts: 4), breaker: nil)))
      let url = try #require(URL(string: endpoint.url))
      var options = GroupConsumer.Options()
      options.endsWhenEmpty = true
      try await GroupConsumer(
        log, "hook", relay: WebhookRelay(url, secret: Self.secret, source: "/test"), options: options
      ).run()
      let requests = endpoint.all
      #expect(requests.count == 9)
      var versions: [Int] = []
      for request in requests {
        let event = try #require(try JSONSerialization.jsonObject(with: Data(request.body.utf8)) as? [String: Any])
        #expect(event["specversion"] as? String == "1.0" && event["source"] as? String == "/test")
        #expect(request.headers["content-type"] == "application/cloudevents+json")
        #expect(event["id"] as? String == request.headers["webhook-id"])
        let time = try #require(Int(request.headers["webhook-timestamp"] ?? ""))
        let key = Array(Data(base64Encoded: String(Self.secret.dropFirst(6))) ?? Data())
        let expected = WebhookRelay.signature(
          id: request.headers["webhook-id"] ?? "", time: time, body: Array(request.body.utf8), secret: key)
        #expect(request.headers["webhook-signature"] == "v1,\(expected)")
        if event["subject"] as? String == "item-1" {
          versions.append(event["streamversion"] as? Int ?? 0)
          #expect((event["data"] as? [String: Any])?["n"] as? Int == versions.last)
          #expect(
            event["correlationid"] as? String == "c-1" && request.headers["traceparent"]?.hasPrefix("00-0af7") == true)
        } else {
          #expect(event["data_base64"] as? String == "AP8H")
        }
      }
      // In order, whichever came again.
      #expect(versions == versions.sorted() && Set(versions) == [1, 2, 3, 4, 5])
      #expect(try await groups.status(of: "hook").parked == 0)
    }
  }

  @Test(
    "an endpoint that is gone stops the group; one that is not there is tried again; a wrong secret or URL is refused")
  func refuses() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append([EventData(type: "made", payload: .json("{}"))], to: "item-1", expecting: .noStream)
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup("hook", policy: GroupPolicy(retry: RetryPolicy(.fixed(0.01), attempts: 2), breaker: nil)))
      let endpoint = try Endpoint { _ in "410 Gone\r\n" }
      let url = try #require(URL(string: endpoint.url))
      var options = GroupConsumer.Options()
      options.endsWhenEmpty = true
      options.endsWhenStopped = true
      let consumer = try GroupConsumer(
        log, "hook", relay: WebhookRelay(url, secret: Self.secret, source: "/test"), options: options)
      await #expect(throws: OutboxError.self) { try await consumer.run() }
      #expect(try await groups.status(of: "hook").failure?.problem.contains("410") == true)
      endpoint.close()
      try await groups.resume("hook")
      try await consumer.run()
      #expect(try await groups.parked(of: "hook").first?.problem.contains("cannot be reached") == true)
      #expect(throws: InvalidWebhook.self) { try WebhookRelay(url, secret: "whsec_AAAA", source: "/test") }
      #expect(throws: InvalidWebhook.self) { try WebhookRelay(url, secret: "secret", source: "/test") }
      let file = try #require(URL(string: "file:///etc/passwd"))
      #expect(throws: InvalidWebhook.self) { try WebhookRelay(file, secret: Self.secret, source: "/test") }
    }
  }

  /// Forwards one event to an endpoint, until it was handled or given up.
  private func forward(
    to endpoint: Endpoint, timeout: Double = 20, metadata: Metadata = Metadata(), payload: Payload = .json("{}")
  ) async throws -> (handled: Int, problems: [String]) {
    try await TestDatabase.required.withLog { log in
      try await log.append(
        [EventData(type: "made", payload: payload, metadata: metadata)], to: "item-1", expecting: .noStream)
      let groups = ConsumerGroups(log)
      try await groups.create(
        ConsumerGroup("hook", policy: GroupPolicy(retry: RetryPolicy(.fixed(0.01), attempts: 2), breaker: nil)))
      let url = try #require(URL(string: endpoint.url))
      let relay = try WebhookRelay(url, secret: Self.secret, source: "/test", timeout: timeout)
      let running = Task { try await GroupConsumer(log, "hook", relay: relay).run() }
      for _ in 0..<1500 where try await groups.status(of: "hook").handled == 0 {
        try await Task.sleep(for: .milliseconds(10))
      }
      running.cancel()
      try await running.value
      return (try await groups.status(of: "hook").handled, try await groups.parked(of: "hook").map(\.problem))
    }
  }

  @Test("an answer without end: what its head says counts, and no more than a little of its body is taken")
  func endless() async throws {
    let pieces = 2_000
    let endpoint = try Endpoint({ _ in "200 OK\r\n\r\n" }) { number in
      // What is under way when it is called off comes yet: no faster than a network.
      usleep(1_000)
      return number < pieces ? [UInt8](repeating: 0x78, count: 65_536) : nil
    }
    defer { endpoint.close() }
    let (handled, problems) = try await forward(to: endpoint)
    #expect(handled == 1 && problems == [])
    // What is in the buffers of the two sides comes on top.
    #expect(endpoint.taken < pieces * 65_536 / 4)
  }

  @Test("an answer that never comes to an end, however much of it comes, is none when its time is over")
  func trickle() async throws {
    let endpoint = try Endpoint({ _ in "200 OK\r\n" }) { number in
      usleep(20_000)
      return Array("X-\(number): y\r\n".utf8)
    }
    defer { endpoint.close() }
    let (handled, problems) = try await forward(to: endpoint, timeout: 0.5)
    #expect(handled == 1 && problems == ["the endpoint cannot be reached (URLError -1001)"])
  }

  @Test("an answer whose head has come and whose body goes on and on: the head counts when its time is over")
  func drip() async throws {
    let endpoint = try Endpoint({ _ in "200 OK\r\n\r\n" }) { _ in
      usleep(20_000)
      return [0x78]
    }
    defer { endpoint.close() }
    let (handled, problems) = try await forward(to: endpoint, timeout: 0.5)
    #expect(handled == 1 && problems == [])
  }

  @Test("an event's traceparent is sent where it is one, and makes no further headers")
  func injected() async throws {
    let endpoint = try Endpoint { _ in "200 OK\r\n" }
    defer { endpoint.close() }
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    let (handled, problems) = try await forward(
      to: endpoint, metadata: Metadata(traceparent: trace + "\r\nX-Role: admin"))
    #expect(handled == 1 && problems == [])
    let headers = try #require(endpoint.all.first).headers
    #expect(headers["x-role"] == nil && headers["traceparent"] == nil, "\(headers)")
    #expect(TraceParent.isValid(trace) && !TraceParent.isValid("ff" + trace.dropFirst(2)))
    #expect(!TraceParent.isValid(trace.uppercased()) && !TraceParent.isValid(trace + "\n"))
  }

  @Test("a payload that is called JSON and is none is bytes: it makes no members of the envelope")
  func forged() async throws {
    let endpoint = try Endpoint { _ in "200 OK\r\n" }
    defer { endpoint.close() }
    let (handled, _) = try await forward(to: endpoint, payload: .json(#"1,"type":"forged""#))
    #expect(handled == 1)
    let body = try #require(endpoint.all.first).body
    let event = try #require(try JSONSerialization.jsonObject(with: Data(body.utf8)) as? [String: Any])
    #expect(event["type"] as? String == "made" && event["data"] == nil)
    #expect(event["data_base64"] as? String == Data(#"1,"type":"forged""#.utf8).base64EncodedString())
  }
}
