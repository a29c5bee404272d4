#if NATS
  internal import CNATS
  public import EventStore
  public import Outbox

  /// Publishes each event to a stream of NATS JetStream, as a CloudEvent in JSON. (Package trait `NATS`; needs the NATS C client.)
  ///
  /// The header `Nats-Msg-Id` is the event's id, the same each time: what comes again within the stream's duplicate window (two minutes,
  /// unless it was made with another) is stored once. Only a replay comes without it, since it is meant to be stored once more. Further
  /// headers: `content-type`, `key` (what the event is ordered by), `traceparent` where there is one.
  ///
  /// While the server is away or cannot store anything, or no stream takes the subject, events wait and no attempt is counted. One that
  /// is too large for the server or the stream is a dead letter. Another error is a failed try.
  public struct NATSRelay: Relay {
    /// Who it is for the server, and how long it waits.
    public struct Options: Sendable {
      /// A file with the user's JWT and seed, as `nsc` writes it. `nil`: none is used.
      public var credentialsFile: String?
      /// What the server shows of this client.
      public var name = "eventstore"
      /// How long the server may take to confirm an event, in seconds: 0.1 or more.
      public var timeout = 5.0

      public init() {}
    }

    private let connection: NATSConnection
    private let source: String
    private let subject: @Sendable (Delivery) -> String

    /// Connects nowhere yet, and checks nothing: while there is no connection, for whatever reason, events wait.
    ///
    /// - Parameters:
    ///   - servers: `nats://[user:password@]host:4222`, or `tls://…`; several are one cluster.
    ///   - source: Of the CloudEvents: which store.
    ///   - subject: What an event is published to. Default: `events.` and the category.
    public init(
      _ servers: [String], source: String, options: Options = Options(),
      subject: @escaping @Sendable (Delivery) -> String = { "events.\(NATSRelay.token($0.event.stream.category))" }
    ) {
      connection = NATSConnection(
        servers, credentials: options.credentialsFile, name: options.name, timeout: max(0.1, options.timeout))
      self.source = source
      self.subject = subject
    }

    /// A line break would begin another header.
    private static func headerValue(_ text: String) -> String {
      String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? " " : $0 }))
    }

    private static func isSubject(_ text: String) -> Bool {
      text.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { part in
        !part.isEmpty
          && part.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "*") && $0 != UInt8(ascii: ">") }
      }
    }

    /// A text as one part of a subject: what means something there becomes `_`.
    public static func token(_ text: String) -> String {
      String(
        text.map {
          $0 == "." || $0 == "*" || $0 == ">" || $0.isWhitespace
            || $0.asciiValue.map { $0 < 0x20 || $0 == 0x7F } == true ? "_" : $0
        })
    }

    public func forward(_ deliveries: [Delivery]) async throws -> [Disposition] {
      var dispositions: [Disposition] = []
      for delivery in deliveries { dispositions.append(try await forward(delivery)) }
      return dispositions
    }

    private func forward(_ delivery: Delivery) async throws -> Disposition {
      let event = try CloudEvent(relaying: delivery, source: source)
      var headers = [("content-type", CloudEvent.contentType), ("key", Self.headerValue(delivery.key))]
      if let traceparent = delivery.event.metadata.traceparent {
        headers.append(("traceparent", Self.headerValue(traceparent)))
      }
      let subject = subject(delivery)
      // The library would send it as it is.
      guard Self.isSubject(subject) else {
        return .stop(
          reason: "\(subject.debugDescription) is no subject: parts without white space, * or >, with dots between them"
        )
      }
      let confirmation: Confirmation
      do {
        confirmation = try await connection.publish(
          NATSConnection.Message(
            data: event.json, subject: subject, id: delivery.cause == .replay ? nil : event.id, headers: headers))
      } catch let error as NATSUnavailable {
        return .throttle(after: 1, reason: "NATS: \(error.problem)")
      }
      guard case .refused(let status, let error, let text) = confirmation else { return .ack }
      switch (natsStatus(rawValue: status), jsErrCode(rawValue: error)) {
      case (NATS_MAX_PAYLOAD, _), (_, JSStreamMessageExceedsMaximumErr):
        return .park(reason: "JetStream: \(text)")
      case (NATS_NO_RESPONDERS, _):
        return .throttle(after: 1, reason: "JetStream: no stream takes \(subject)")
      case (NATS_TIMEOUT, _), (NATS_NO_SERVER, _), (NATS_CONNECTION_CLOSED, _), (NATS_CONNECTION_DISCONNECTED, _),
        (NATS_INSUFFICIENT_BUFFER, _), (NATS_IO_ERROR, _), (NATS_STALE_CONNECTION, _), (_, JSInsufficientResourcesErr),
        (_, JSStreamStoreFailedErr), (_, JSClusterNotAvailErr), (_, JSNotEnabledErr), (_, JSNotEnabledForAccountErr):
        return .throttle(after: 1, reason: "JetStream: \(text)")
      case (NATS_INVALID_SUBJECT, _), (NATS_INVALID_ARG, _), (NATS_NOT_PERMITTED, _):
        return .stop(reason: "NATS refuses subject \(subject): \(text)")
      default: return .retry(reason: "JetStream: \(text)")
      }
    }
  }
#endif
