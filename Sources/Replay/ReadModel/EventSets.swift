internal import EventStore

/// A set of events that one statement applies.
struct EventSet: Sendable {
  let handler: Int
  var events: [RecordedEvent]
}

/// Divides events into sets, as few as order allows: within a stream, and where streams are not independent in the whole
/// log, events are applied in their order.
enum EventSets {
  /// Of payloads in one set, in bytes: it travels as one parameter.
  private static let mostBytes = 32 << 20

  /// - Throws: ``ReadModelError`` with `unhandledType`.
  static func divide(_ events: [RecordedEvent], for model: ReadModel) throws(ReadModelError) -> [EventSet] {
    let sets = model.streamsAreIndependent ? try byStream(events, model) : try inOrder(events, model)
    return sets.flatMap(cut)
  }

  private static func cut(_ set: EventSet) -> [EventSet] {
    var parts: [EventSet] = []
    var (start, bytes) = (0, 0)
    for (index, event) in set.events.enumerated() {
      let size = if case .success(let payload) = event.payload { payload.bytes.count } else { 0 }
      if bytes + size > mostBytes, index > start {
        parts.append(EventSet(handler: set.handler, events: Array(set.events[start..<index])))
        (start, bytes) = (index, 0)
      }
      bytes += size
    }
    if start == 0 { return [set] }
    return parts + [EventSet(handler: set.handler, events: Array(set.events[start...]))]
  }

  private static func inOrder(_ events: [RecordedEvent], _ model: ReadModel) throws(ReadModelError) -> [EventSet] {
    var sets: [EventSet] = []
    for event in events {
      guard let handler = try model.handler(of: event.type) else { continue }
      if let last = sets.last, last.handler == handler, !model.handlers[handler].isEach {
        sets[sets.count - 1].events.append(event)
      } else {
        sets.append(EventSet(handler: handler, events: [event]))
      }
    }
    return sets
  }

  /// Each stream's events make runs of the same statement. All streams' first runs come first, then all their second
  /// ones …: those of the same statement are one set.
  private static func byStream(_ events: [RecordedEvent], _ model: ReadModel) throws(ReadModelError) -> [EventSet] {
    var runs: [StreamName: (number: Int, handler: Int)] = [:]
    var sets: [[Int: EventSet]] = []
    for event in events {
      guard let handler = try model.handler(of: event.type) else { continue }
      var run = runs[event.stream] ?? (number: 0, handler: handler)
      if run.handler != handler { run = (run.number + 1, handler) }
      runs[event.stream] = run
      if run.number == sets.count { sets.append([:]) }
      sets[run.number][handler, default: EventSet(handler: handler, events: [])].events.append(event)
    }
    return sets.flatMap { round in
      round.values.sorted { $0.handler < $1.handler }.flatMap { set in
        model.handlers[set.handler].isEach
          ? set.events.map { EventSet(handler: set.handler, events: [$0]) } : [set]
      }
    }
  }
}
