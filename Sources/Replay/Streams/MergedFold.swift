package import EventStore

/// The state of a stream whose aggregate nobody has declared: the latest value of every field that its events' payloads
/// have had. Fields keep the order in which they came; values are kept byte by byte, decimals digit by digit.
package struct MergedState: Sendable, Equatable {
  package struct Field: Sendable, Equatable {
    package let name: String
    /// JSON text.
    package var value: [UInt8]
    /// The event that set it last.
    package var version: Int
  }
  package private(set) var fields: [Field] = []
  private var places: [String: Int] = [:]

  package static func == (left: Self, right: Self) -> Bool { left.fields == right.fields }

  mutating func set(_ name: String, _ value: [UInt8], _ version: Int) {
    if let place = places[name] {
      fields[place].value = value
      fields[place].version = version
    } else {
      places[name] = fields.count
      fields.append(Field(name: name, value: value, version: version))
    }
  }

  /// `{"field":value,…}`
  package var json: [UInt8] {
    var writer = JSONWriter(capacity: 256)
    var separator: StaticString = "{"
    for field in fields {
      writer.append(raw: separator)
      writer.append(key: field.name)
      writer.append(raw: field.value)
      separator = ","
    }
    writer.append(raw: fields.isEmpty ? "{}" : "}")
    return writer.take()
  }
}

/// Merges the fields of JSON objects. Payloads that are none change nothing.
package struct MergedFold: Fold {
  private let codec: EventCodec

  package let shape: SnapshotShape

  package init(_ codec: EventCodec = EventCodec()) {
    self.codec = codec
    // Upcasters make other fields of the same events.
    let names = [StateShape.text(of: MergedState.self)] + codec.upcasterNames
    shape = SnapshotShape(
      stateType: "latest fields", schemaVersion: 1,
      fingerprint: StateShape.fingerprint(ofText: names.joined(separator: "\n")))
  }

  package var snapshotPolicy: SnapshotPolicy<MergedState> { .every(100) }

  package struct Step: Sendable {
    let version: Int
    let fields: [(name: String, value: [UInt8])]
  }

  package func initialState() -> MergedState { MergedState() }

  package func step(_ event: RecordedEvent) throws(CodecError) -> Step? {
    let (payload, _) = try codec.upcasted(event)
    guard payload.content == .json, let members = try? JSONText.topLevelMembers(of: payload.bytes) else { return nil }
    return Step(
      version: event.version,
      fields: members.map { ($0.key, JSONText.compacted(Array(payload.bytes[$0.value]))) })
  }

  package func apply(_ steps: [Step?], to state: inout MergedState) {
    for step in steps {
      for field in step?.fields ?? [] { state.set(field.name, field.value, step?.version ?? 0) }
    }
  }

  package func display(_ state: MergedState) -> [UInt8] { state.json }

  package func encode(_ state: MergedState) -> Payload {
    var writer = JSONWriter(capacity: 256)
    writer.append(raw: "{")
    for (index, field) in state.fields.enumerated() {
      if index > 0 { writer.append(raw: ",") }
      writer.append(key: field.name)
      writer.append(raw: "{\"version\":")
      writer.append(field.version)
      writer.append(raw: ",\"value\":")
      writer.append(raw: field.value)
      writer.append(raw: "}")
    }
    writer.append(raw: "}")
    return Payload(bytes: writer.take(), content: .json)
  }

  package func decode(_ payload: Payload) throws -> MergedState {
    var state = MergedState()
    for member in try JSONText.topLevelMembers(of: payload.bytes) {
      let field = Array(payload.bytes[member.value])
      var parts: [String: [UInt8]] = [:]
      for part in try JSONText.topLevelMembers(of: field) { parts[part.key] = Array(field[part.value]) }
      guard let value = parts["value"], let version = parts["version"] else { throw NotMergedState() }
      state.set(member.key, value, try version.withUnsafeBytes { try JSONText.integer($0) })
    }
    return state
  }

  private struct NotMergedState: Error {}
}
