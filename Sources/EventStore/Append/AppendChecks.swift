internal import FoundationEssentials
internal import PostgreSQL

/// What is wrong with a request is said before anything is sent.
package enum AppendChecks {
  package static let maximumMetadataBytes = 64 << 10
  /// What ISO 8601 writes with four digits.
  private static let times = Date(timeIntervalSince1970: -62_135_596_800)..<Date(timeIntervalSince1970: 253_402_300_800)

  package static func check(_ appends: [StreamAppend], maximumPayloadBytes: Int) throws(AppendError) {
    guard !appends.isEmpty else { throw .invalid("an append needs at least one stream") }
    if appends.count > 1 {
      var streams: Set<StreamName> = []
      for append in appends where !streams.insert(append.stream).inserted {
        throw .invalid("stream \(append.stream) stands twice in one append: put its events together")
      }
    }
    for append in appends {
      guard !append.events.isEmpty else { throw .invalid("the append to stream \(append.stream) has no events") }
      if case .exact(let version) = append.expected, version < 0 {
        throw .invalid("expected version \(version) of stream \(append.stream) is negative")
      }
      for event in append.events { try check(event, maximumPayloadBytes) }
      guard append.events.count == 1 || Set(append.events.map(\.id)).count == append.events.count else {
        throw .invalid("two events of the append to stream \(append.stream) have the same id")
      }
    }
  }

  static func check(_ event: EventData, _ maximumPayloadBytes: Int) throws(AppendError) {
    do throws(InvalidName) {
      try InvalidName.check(event.type, as: "event type", maximum: 256)
      if let subject = event.subject { try InvalidName.check(subject, as: "subject", maximum: 512) }
    } catch {
      throw .invalid(error.description)
    }
    guard event.schemaVersion >= 1, event.schemaVersion <= Int(Int32.max) else {
      throw .invalid("schema version \(event.schemaVersion) of event \(name(event)) is not 1 … \(Int32.max)")
    }
    if let time = event.occurredAt, !times.contains(time) {
      throw .invalid(
        "the time of event \(name(event)) is outside the years 1 to 9999: check seconds against milliseconds")
    }
    guard event.payload.bytes.count <= maximumPayloadBytes else {
      throw .invalid(
        "the payload of event \(name(event)) has \(event.payload.bytes.count) bytes; the limit is \(maximumPayloadBytes): "
          + "store large content elsewhere and put a reference to it into the event")
    }
    guard event.metadata.json.count <= maximumMetadataBytes else {
      throw .invalid(
        "the metadata of event \(name(event)) has \(event.metadata.json.count) bytes; the limit is \(maximumMetadataBytes)"
      )
    }
  }

  /// As it is written everywhere.
  private static func name(_ event: EventData) -> String { event.id.uuidString.lowercased() }

  /// Whether a recorded event is what an append asks for. Of a payload whose subject was shredded, everything else
  /// decides; one that cannot be opened for another reason is not known to be the same.
  package static func isSame(_ event: EventData, _ recorded: RecordedEvent) -> Bool {
    guard event.id == recorded.id, event.type == recorded.type, event.schemaVersion == recorded.schemaVersion,
      event.metadata.isSame(as: recorded.metadata),
      event.occurredAt?.microsecondsSince2000 == recorded.occurredAt?.microsecondsSince2000
    else { return false }
    return isSamePayload(event, recorded) { $0 == $1 }
  }

  /// The same of an event that was exported and comes back: then it has a time where it had none, to within what a Date
  /// far from now can tell; and its JSON may be spaced otherwise.
  static func isSameImported(_ event: EventData, _ recorded: RecordedEvent) -> Bool {
    let isSameTime =
      event.occurredAt.map { abs($0.timeIntervalSince(recorded.time)) < 0.0001 } ?? (recorded.occurredAt == nil)
    guard isSameTime, event.type == recorded.type, event.schemaVersion == recorded.schemaVersion,
      event.metadata.isSame(as: recorded.metadata)
    else { return false }
    return isSamePayload(event, recorded) { left, right in
      left.content == .json && right.content == .json
        && JSONText.compacted(left.bytes) == JSONText.compacted(right.bytes)
    }
  }

  private static func isSamePayload(
    _ event: EventData, _ recorded: RecordedEvent, _ isSame: (Payload, Payload) -> Bool
  ) -> Bool {
    switch recorded.payload {
    case .success(let payload): payload == event.payload || isSame(payload, event.payload)
    case .failure(.shredded): true
    case .failure: false
    }
  }
}
