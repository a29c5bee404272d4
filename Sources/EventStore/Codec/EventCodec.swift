public import FoundationEssentials

/// Turns events into payloads and back: JSON by Codable. Older payloads are raised to the current schema version by
/// upcasters, one version at a time, before they are decoded.
///
/// Make it once, when the process starts; it does not change afterwards.
public struct EventCodec: Sendable {
  /// Makes the payload of the next schema version from one of the version before.
  public typealias Upcaster = @Sendable (Payload) throws -> Payload

  private struct Decoding: Sendable {
    let schemaVersion: Int
    let decode: @Sendable (Payload) throws -> any Event
  }

  private struct Step: Hashable {
    let type: String
    let version: Int
  }

  private var decodings: [String: Decoding] = [:]
  private var upcasters: [Step: Upcaster] = [:]

  /// Knows no ``Event`` type and no upcaster. Cases of an ``AggregateEvent`` need no registration.
  public init() {}

  /// Which upcasters there are: `type version`, sorted.
  package private(set) var upcasterNames: [String] = []

  /// As ``register(_:)`` for each of them.
  public init(_ types: any Event.Type...) {
    for type in types { register(type) }
  }

  /// Lets events of this type be decoded. Two types with the same ``Event/eventType`` are a programmer error.
  public mutating func register(_ type: (some Event).Type) {
    precondition(decodings[type.eventType] == nil, "two event types are declared as \(type.eventType)")
    decodings[type.eventType] = Decoding(schemaVersion: type.schemaVersion) { payload in
      try PayloadDecoder.decode(type, from: payload.bytes)
    }
  }

  /// Raises payloads of `type` from schema version `version` to the next. Two for one version are a programmer error.
  public mutating func upcast(_ type: String, from version: Int, with upcaster: @escaping Upcaster) {
    precondition(upcasters[Step(type: type, version: version)] == nil, "two upcasters for \(type) version \(version)")
    upcasters[Step(type: type, version: version)] = upcaster
    upcasterNames = upcasters.keys.map { "\($0.type) \($0.version)" }.sorted()
  }

  /// Raises payloads of `type` from schema version `version` to the next, by way of the Swift types of both shapes. Two
  /// for one version are a programmer error.
  public mutating func upcast<Old: Decodable & SendableMetatype, New: Encodable & SendableMetatype>(
    _ type: String, from version: Int, _ transform: @escaping @Sendable (Old) throws -> New
  ) {
    upcast(type, from: version) { payload in
      let old = try PayloadDecoder.decode(Old.self, from: payload.bytes)
      return Payload(bytes: try Self.json(transform(old)), content: .json)
    }
  }

  /// The event as it is to be appended.
  ///
  /// - Throws: ``CodecError/encoding(type:reason:)``.
  public func encode(
    _ event: some Event, metadata: Metadata = Metadata(), subject: String? = nil, id: UUID = .v7()
  ) throws(CodecError) -> EventData {
    let type = Swift.type(of: event)
    do {
      return EventData(
        id: id, type: type.eventType, schemaVersion: type.schemaVersion,
        payload: Payload(bytes: try Self.json(event), content: .json), metadata: metadata, subject: subject)
    } catch {
      // Of the error only its kind: its text may quote the payload.
      throw .encoding(type: type.eventType, reason: "\(Swift.type(of: error))")
    }
  }

  /// The same text for the same value, in every process; but for what has no order of its own, a Set or a dictionary with
  /// keys other than strings and integers, and comes as an array.
  static func json(_ value: some Encodable) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(value))
  }

  /// The payload at the newest schema version that the upcasters lead to; without one, as it is stored.
  ///
  /// - Throws: ``CodecError``: `payload` where it cannot be opened, `upcasting`.
  public func upcasted(_ event: RecordedEvent) throws(CodecError) -> (payload: Payload, schemaVersion: Int) {
    var payload: Payload
    switch event.payload {
    case .success(let opened): payload = opened
    case .failure(let error): throw .payload(error)
    }
    var version = event.schemaVersion
    guard !upcasters.isEmpty else { return (payload, version) }
    while let upcaster = upcasters[Step(type: event.type, version: version)] {
      do { payload = try upcaster(payload) } catch {
        throw .upcasting(type: event.type, version: version, event: event.id, reason: Self.reason(error))
      }
      version += 1
    }
    return (payload, version)
  }

  /// The event as its Swift type.
  ///
  /// - Throws: ``CodecError``: an unknown type, a schema version without an upcaster, a payload that cannot be opened
  ///   or decoded.
  public func decode(_ event: RecordedEvent) throws(CodecError) -> any Event {
    guard let decoding = decodings[event.type] else { throw .unknownType(event.type, known: decodings.keys.sorted()) }
    let (payload, version) = try upcasted(event)
    guard version == decoding.schemaVersion else {
      throw .schemaVersion(type: event.type, found: version, expected: decoding.schemaVersion)
    }
    do { return try decoding.decode(payload) } catch {
      throw .decoding(type: event.type, event: event.id, reason: Self.reason(error))
    }
  }

  /// Where a Codable error points to, without the values that its text may quote, and without keys that are data.
  static func reason(_ error: any Error) -> String {
    guard let error = error as? DecodingError else { return "\(type(of: error))" }
    func path(_ context: DecodingError.Context, _ last: (any CodingKey)? = nil) -> String {
      (context.codingPath + (last.map { [$0] } ?? [])).map(declaredName).joined(separator: ".")
    }
    return switch error {
    case .keyNotFound(let key, let context): "key \(path(context, key)) is missing"
    case .typeMismatch(let type, let context): "\(path(context)) is no \(type)"
    case .valueNotFound(let type, let context): "\(path(context)) is null, expected \(type)"
    case .dataCorrupted(let context): "\(path(context)) is not valid"
    @unknown default: "unknown"
    }
  }
}

/// A key as it is declared in the program, an index as its number; a dictionary's key, or another that comes from the
/// payload, as `*`.
private func declaredName(_ key: any CodingKey) -> String {
  let mirror = Mirror(reflecting: key)
  guard mirror.displayStyle == .enum else { return "*" }
  guard let value = mirror.children.first else { return key.stringValue }
  // JSONDecoder's own kind of key.
  return value.label == "index" ? "\(value.value)" : "*"
}

/// Why an event could not be made from, or turned into, its payload. Never quotes the payload.
public enum CodecError: Error, Sendable, Hashable {
  /// The type's own `encode(to:)` failed, or made something that is no JSON.
  case encoding(type: String, reason: String)
  /// The stored type's name was not registered.
  case unknownType(String, known: [String])
  /// No upcaster leads there from an older version; or the event is newer than this program.
  case schemaVersion(type: String, found: Int, expected: Int)
  /// An upcaster failed. `version` is the one that it was given.
  case upcasting(type: String, version: Int, event: UUID, reason: String)
  /// The type's own `init(from:)` failed. The reason names members, never values.
  case decoding(type: String, event: UUID, reason: String)
  /// There is nothing to decode: the payload cannot be opened.
  case payload(PayloadError)
}

extension CodecError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .encoding(let type, let reason): "an event of type \(type) cannot be encoded: \(reason)"
    case .unknownType(let type, let known):
      "event type \(type) is not registered with the codec; it knows \(known.joined(separator: ", "))"
    case .schemaVersion(let type, let found, let expected):
      found < expected
        ? "event type \(type): no upcaster leads from schema version \(found) to \(expected): register one"
        : "event type \(type) has schema version \(found), newer than this program's \(expected): update the program"
    case .upcasting(let type, let version, let event, let reason):
      "event \(event.uuidString.lowercased()) of type \(type) cannot be raised from schema version \(version): "
        + reason
    case .decoding(let type, let event, let reason):
      "event \(event.uuidString.lowercased()) of type \(type) cannot be decoded: \(reason)"
    case .payload(let error): error.description
    }
  }
}

extension EventLog {
  /// Encodes events with `codec` and appends them; see ``EventLog/append(_:to:expecting:)``.
  ///
  /// - Throws: ``CodecError`` or ``AppendError``.
  @discardableResult
  public func append(
    _ events: [any Event], to stream: StreamName, expecting expected: ExpectedVersion, codec: EventCodec = EventCodec(),
    metadata: Metadata = Metadata()
  ) async throws -> Appended {
    let data = try events.map { try codec.encode($0, metadata: metadata) }
    return try await append(data, to: stream, expecting: expected)
  }
}
