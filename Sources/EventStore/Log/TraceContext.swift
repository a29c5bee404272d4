package import Tracing

/// W3C Trace Context (https://www.w3.org/TR/trace-context/), as events carry it in their metadata: from the span in which one is
/// appended to those in which it is handled.
package enum TraceContext {
  package static let keys: Set<String> = ["traceparent", "tracestate"]

  /// What the system has, where nothing else was said; `nil`: nothing is traced.
  package static func tracer(_ given: (any Tracer)?) -> (any Tracer)? {
    let tracer = given ?? InstrumentationSystem.tracer
    return tracer is NoOpTracer ? nil : tracer
  }

  /// The events with the context of the span that is current here, where they say no other.
  package static func carried(_ appends: [StreamAppend], by tracer: (any Tracer)?) -> [StreamAppend] {
    // Nearly always there is none.
    guard let context = ServiceContext.current, let tracer = self.tracer(tracer) else { return appends }
    var members: [String: String] = [:]
    tracer.inject(context, into: &members, using: MemberInjector())
    guard !members.isEmpty else { return appends }
    let added = members.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) }
    var appends = appends
    for append in appends.indices {
      for event in appends[append].events.indices {
        let metadata = appends[append].events[event].metadata
        guard !keys.contains(where: { metadata[$0] != nil }) else { continue }
        let traced = metadata.adding(added)
        // An append is not refused for what its caller did not ask for.
        guard traced.json.count <= AppendChecks.maximumMetadataBytes else { continue }
        appends[append].events[event].metadata = traced
      }
    }
    return appends
  }

  /// The context that an event was appended in.
  package static func context(of metadata: Metadata, _ tracer: any Tracer) -> ServiceContext {
    var context = ServiceContext.topLevel
    if !metadata.isEmpty { tracer.extract(metadata, into: &context, using: MetadataExtractor()) }
    return context
  }

  /// Other things that an instrument carries, such as baggage, are not for the log: they would stay in it, in the clear.
  private struct MemberInjector: Injector {
    func inject(_ value: String, forKey key: String, into members: inout [String: String]) {
      if keys.contains(key) { members[key] = value }
    }
  }

  private struct MetadataExtractor: Extractor {
    func extract(key: String, from metadata: Metadata) -> String? { metadata[key] }
  }
}
