internal import CSodium
internal import EventStore
public import Foundation
public import Outbox

#if canImport(FoundationNetworking)
  internal import FoundationNetworking
#endif

/// Posts each event to an HTTP endpoint as a CloudEvent, signed by the rules of Standard Webhooks
/// (https://github.com/standard-webhooks/standard-webhooks, specification 1.0.0).
///
/// 2xx: it has arrived. 410: the endpoint does not want any more: the group stops. 429 and 503 with `Retry-After`: again after that
/// time, and no attempt is counted. Anything else, and no answer: tried again by the group's policy. Redirects are not
/// followed.
///
/// The header `webhook-timestamp`, which receivers compare with their clocks, is when the request was made, by this
/// process's clock.
public struct WebhookRelay: Relay {
  private let endpoint: URL
  private let source: String
  private let secret: [UInt8]
  private let timeout: Double
  private let exchanges = WebhookExchanges()
  private let session: URLSession

  /// - Parameters:
  ///   - secret: `whsec_` and 24 to 64 bytes in base64, as the specification has it. The receiver needs the same.
  ///   - source: Of the CloudEvents: which store.
  ///   - timeout: How long the endpoint may take to answer, in seconds: 0.001 to 3600. Of the body of its answer at most 64 KiB are
  ///     waited for, and none is kept.
  /// - Throws: ``InvalidWebhook``.
  public init(_ endpoint: URL, secret: String, source: String, timeout: Double = 20) throws(InvalidWebhook) {
    guard ["http", "https"].contains(endpoint.scheme ?? ""), endpoint.host != nil else {
      throw InvalidWebhook(problem: "the endpoint is no http or https URL")
    }
    guard secret.hasPrefix("whsec_"), let key = Data(base64Encoded: String(secret.dropFirst(6))),
      (24...64).contains(key.count)
    else { throw InvalidWebhook(problem: "the secret is not whsec_ and 24 to 64 bytes in base64") }
    self.endpoint = endpoint
    self.secret = Array(key)
    self.source = source
    self.timeout = timeout.isNaN ? 20 : min(max(0.001, timeout), 3600)
    let configuration = URLSessionConfiguration.ephemeral
    // In whole seconds, and anew with each byte: the exchange itself has an end that counts.
    configuration.timeoutIntervalForRequest = self.timeout.rounded(.up) + 1
    configuration.httpMaximumConnectionsPerHost = 64
    session = URLSession(configuration: configuration, delegate: exchanges, delegateQueue: nil)
  }

  public func forward(_ deliveries: [Delivery]) async throws -> [Disposition] {
    var dispositions: [Disposition] = []
    for delivery in deliveries { dispositions.append(try await forward(delivery)) }
    return dispositions
  }

  private func forward(_ delivery: Delivery) async throws -> Disposition {
    let event = try CloudEvent(relaying: delivery, source: source)
    let time = Int(Date.now.timeIntervalSince1970)
    var request = URLRequest(url: endpoint)
    request.httpMethod = "POST"
    request.httpBody = Data(event.json)
    request.setValue(CloudEvent.contentType, forHTTPHeaderField: "Content-Type")
    request.setValue(event.id, forHTTPHeaderField: "webhook-id")
    request.setValue("\(time)", forHTTPHeaderField: "webhook-timestamp")
    request.setValue(
      "v1,\(Self.signature(id: event.id, time: time, body: event.json, secret: secret))",
      forHTTPHeaderField: "webhook-signature")
    if let traceparent = delivery.event.metadata.traceparent, TraceParent.isValid(traceparent) {
      request.setValue(traceparent, forHTTPHeaderField: "traceparent")
    }
    let response: URLResponse
    do {
      response = try await exchanges.response(to: request, in: session, within: timeout)
    } catch {
      if Task.isCancelled { throw CancellationError() }
      let code = (error as? URLError)?.code.rawValue ?? 0
      return .retry(reason: "the endpoint cannot be reached (URLError \(code))")
    }
    guard let answer = response as? HTTPURLResponse else { return .retry(reason: "the endpoint's answer is not HTTP") }
    switch answer.statusCode {
    case 200..<300: return .ack
    case 410: return .stop(reason: "the endpoint answered 410: it does not want any more")
    case 429, 503:
      if let seconds = answer.value(forHTTPHeaderField: "Retry-After").flatMap({ Double($0) }), seconds >= 0 {
        return .throttle(after: min(seconds, 3600))
      }
      return .retry(reason: "the endpoint answered \(answer.statusCode)")
    default: return .retry(reason: "the endpoint answered \(answer.statusCode)")
    }
  }

  /// HMAC-SHA256 (RFC 2104) of `id.timestamp.body`, in base64.
  static func signature(id: String, time: Int, body: [UInt8], secret: [UInt8]) -> String {
    var state = crypto_auth_hmacsha256_state()
    crypto_auth_hmacsha256_init(&state, secret, secret.count)
    let head = Array("\(id).\(time).".utf8)
    crypto_auth_hmacsha256_update(&state, head, UInt64(head.count))
    crypto_auth_hmacsha256_update(&state, body, UInt64(body.count))
    var digest = [UInt8](repeating: 0, count: crypto_auth_hmacsha256_bytes())
    crypto_auth_hmacsha256_final(&state, &digest)
    return Data(digest).base64EncodedString()
  }
}

/// The endpoint or the secret of a webhook makes no sense.
public struct InvalidWebhook: Error, Sendable, Hashable, CustomStringConvertible {
  /// Without the secret and without the endpoint.
  public let problem: String
  public var description: String { "webhook: \(problem)" }
}
