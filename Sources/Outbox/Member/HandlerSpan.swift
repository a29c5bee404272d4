internal import EventStore
internal import FoundationEssentials
internal import Tracing

/// The span in which a handler runs, named and described as OpenTelemetry's semantic conventions for messaging have it.
struct HandlerSpan {
  /// `nil`: nothing is traced.
  let tracer: (any Tracer)?

  init(_ log: PostgreSQLEventLog) { tracer = TraceContext.tracer(log.configuration.tracer) }

  /// A child of the span in which the event was appended.
  func around(
    _ delivery: Delivery, _ handler: () async throws -> Disposition
  ) async throws -> Disposition {
    guard let tracer else { return try await handler() }
    let context = TraceContext.context(of: delivery.event.metadata, tracer)
    return try await tracer.withAnySpan("process \(delivery.group)", context: context, ofKind: .consumer) { span in
      span.updateAttributes { attributes in
        Self.describe(delivery.group, &attributes)
        attributes["messaging.message.id"] = delivery.event.id.uuidString.lowercased()
        attributes["eventstore.stream"] = delivery.event.stream.description
        attributes["eventstore.version"] = delivery.event.version
        attributes["eventstore.type"] = delivery.event.type
        attributes["eventstore.attempt"] = delivery.attempt
      }
      return await Self.result(span) {
        let disposition = try await handler()
        if disposition != .ack, disposition != .skip {
          span.setStatus(SpanStatus(code: .error, message: disposition.name))
        }
        return disposition
      }
    }.get()
  }

  /// Linked to the spans in which the events were appended.
  func around(
    _ deliveries: [Delivery], _ handler: () async throws -> [Disposition]
  ) async throws -> [Disposition] {
    guard let tracer, let group = deliveries.first?.group else { return try await handler() }
    return try await tracer.withAnySpan("process \(group)", context: .topLevel, ofKind: .consumer) { span in
      span.updateAttributes { attributes in
        Self.describe(group, &attributes)
        attributes["messaging.batch.message_count"] = deliveries.count
      }
      for delivery in deliveries where delivery.event.metadata.traceparent != nil {
        span.addLink(SpanLink(context: TraceContext.context(of: delivery.event.metadata, tracer), attributes: [:]))
      }
      return await Self.result(span, handler)
    }.get()
  }

  /// An error does not get into the span as it is: it may tell values.
  private static func result<R>(_ span: any Span, _ body: () async throws -> R) async -> Result<R, any Error> {
    do {
      return .success(try await body())
    } catch {
      span.setStatus(SpanStatus(code: .error, message: ErrorWords.of(error)))
      return .failure(error)
    }
  }

  private static func describe(_ group: String, _ attributes: inout SpanAttributes) {
    attributes["messaging.system"] = "eventstore"
    attributes["messaging.operation.type"] = "process"
    attributes["messaging.consumer.group.name"] = group
  }
}

extension Disposition {
  /// Without what a handler has said.
  fileprivate var name: String {
    switch self {
    case .ack: "ack"
    case .skip: "skip"
    case .retry: "retry"
    case .throttle: "throttle"
    case .park: "park"
    case .stop: "stop"
    }
  }
}
