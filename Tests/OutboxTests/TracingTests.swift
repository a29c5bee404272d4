import EventStore
import FoundationEssentials
import InMemoryTracing
import Outbox
import TestSupport
import Testing
import Tracing

/// Keeps spans in memory, and carries their context as W3C Trace Context has it.
private struct W3CTracer: Tracer {
  let memory = InMemoryTracer(
    idGenerator: InMemoryTracer.IDGenerator(
      nextTraceID: { hex(UInt64.random(in: 1...(.max))) + hex(UInt64.random(in: 1...(.max))) },
      nextSpanID: { hex(UInt64.random(in: 1...(.max))) }))

  private static func hex(_ number: UInt64) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  func startSpan<Instant: TracerInstant>(
    _ operationName: String, context: @autoclosure () -> ServiceContext, ofKind kind: SpanKind,
    at instant: @autoclosure () -> Instant, function: String, file: String, line: UInt
  ) -> InMemorySpan {
    memory.startSpan(
      operationName, context: context(), ofKind: kind, at: instant(), function: function, file: file, line: line)
  }

  func forceFlush() {}

  func inject<Carrier, I: Injector>(_ context: ServiceContext, into carrier: inout Carrier, using injector: I)
  where I.Carrier == Carrier {
    guard let span = context.inMemorySpanContext else { return }
    injector.inject("00-\(span.traceID)-\(span.spanID)-01", forKey: "traceparent", into: &carrier)
    injector.inject("vendor=1", forKey: "tracestate", into: &carrier)
    injector.inject("user=secret", forKey: "baggage", into: &carrier)
  }

  func extract<Carrier, E: Extractor>(_ carrier: Carrier, into context: inout ServiceContext, using extractor: E)
  where E.Carrier == Carrier {
    let parts = extractor.extract(key: "traceparent", from: carrier)?.split(separator: "-").map(String.init) ?? []
    guard parts.count == 4 else { return }
    context.inMemorySpanContext = InMemorySpanContext(traceID: parts[1], spanID: parts[2], parentSpanID: nil)
  }

  func of(_ span: some Span) -> String { span.context.inMemorySpanContext?.spanID ?? "" }
}

private struct Secret: Error {
  let text: String
}

@Suite("Trace contexts", .database, .timeLimit(.minutes(15)))
struct TracingTests {
  @Test("from the span that appends into the event's metadata, and from there to the handler's span")
  func carried() async throws {
    let tracer = W3CTracer()
    try await TestDatabase.required.withLog({ $0.tracer = tracer }) { log in
      try await ConsumerGroups(log).create(
        ConsumerGroup(
          "traced", filter: GroupFilter(categories: ["a", "b", "c"]),
          policy: GroupPolicy(retry: RetryPolicy(.fixed(0.01)))))
      let event = EventData(type: "made", payload: .json("{}"))
      let appending = try await tracer.withSpan("order") { span in
        try await log.append([event], to: "a-1", expecting: .any)
        return span.spanContext
      }
      // Tried again, as part of another trace: it is the same event.
      let again = try await tracer.withSpan("order again") { _ in
        try await log.append([event], to: "a-1", expecting: .any)
      }
      #expect(again.wasDuplicate)
      let other = EventData(
        type: "made", payload: .json("{}"), metadata: Metadata(traceparent: "00-0123-4567-01", ["tenant": "t"]))
      try await tracer.withSpan("other") { _ in _ = try await log.append([other], to: "b-1", expecting: .any) }
      let untraced = EventData(type: "made", payload: .json("{}"))
      try await log.append([untraced], to: "c-1", expecting: .any)

      let events = try await log.readAll(after: .start, where: LogFilter()).collect()
      #expect(
        events.map { $0.metadata.traceparent } == [
          "00-\(appending.traceID)-\(appending.spanID)-01", "00-0123-4567-01", nil,
        ])
      #expect(events[0].metadata["tracestate"] == "vendor=1" && events[0].metadata["baggage"] == nil)
      #expect(events[1].metadata["tracestate"] == nil)

      tracer.memory.clearFinishedSpans()
      try await GroupConsumer(log, "traced", options: untilEmpty()) { delivery in
        // What the handler appends is part of the trace, too.
        try await log.append([EventData(type: "sent", payload: .json("{}"))], to: "mail-1", expecting: .any)
        if delivery.event.stream == "c-1", delivery.attempt == 1 { throw Secret(text: "secret") }
        return delivery.event.stream == "b-1" && delivery.attempt == 1 ? .retry(reason: "secret") : .ack
      }.run()
      let spans = tracer.memory.finishedSpans.filter { $0.operationName == "process traced" }
      let own = try #require(spans.first { $0.traceID == appending.traceID })
      #expect(own.parentSpanID == appending.spanID && own.kind == .consumer && own.status == nil)
      #expect(own.attributes["messaging.message.id"]?.toSpanAttribute() == .string(event.id.uuidString.lowercased()))
      #expect(own.attributes["eventstore.stream"]?.toSpanAttribute() == .string("a-1"))
      let failed = spans.filter { $0.traceID == "0123" }
      #expect(failed.map { $0.status?.code } == [.error, nil])
      #expect(failed.first?.status?.message == "retry")
      let thrown = try #require(spans.first { $0.status?.message == "Secret" }, "\(spans.map(\.status))")
      #expect(thrown.errors.isEmpty && thrown.status?.code == .error)
      let mail = try await log.read("mail-1").collect()
      #expect(mail.contains { $0.metadata.traceparent == "00-\(own.traceID)-\(own.spanID)-01" })
    }
  }

  @Test("a batch has one span, with links")
  func batch() async throws {
    let tracer = W3CTracer()
    try await TestDatabase.required.withLog({ $0.tracer = tracer }) { log in
      try await ConsumerGroups(log).create(ConsumerGroup("traced"))
      for number in 1...3 {
        try await tracer.withSpan("order") { _ in
          _ = try await log.append(
            [EventData(type: "made", payload: .json("{}"))], to: try StreamName("a-\(number)"), expecting: .any)
        }
      }
      let appending = Set(tracer.memory.popFinishedSpans().map(\.spanID))
      let limits = GroupConsumer.BatchLimits(size: 10, window: 0.5)
      try await GroupConsumer(log, "traced", batches: limits, options: untilEmpty()) { deliveries in
        deliveries.map { _ in .ack }
      }.run()
      let spans = tracer.memory.finishedSpans
      let linked = spans.flatMap(\.links).compactMap { $0.context.inMemorySpanContext?.spanID }
      #expect(Set(linked) == appending && linked.count == 3)
      #expect(spans.allSatisfy { $0.parentSpanID == nil && $0.operationName == "process traced" })
    }
  }
}
