/// What goes with an event besides its data: a JSON object, stored in the clear and bound to the sealed payload.
///
/// Kept as JSON text and taken apart only when it is asked. Do not put personal data here: it is not encrypted.
public struct Metadata: Hashable, Sendable {
  /// The JSON object, or nothing.
  package let json: [UInt8]

  /// No members: nothing is stored.
  public init() { json = [] }

  /// - Parameters:
  ///   - correlationID: Stored as `correlationId`: the same for everything that one request set off.
  ///   - causationID: Stored as `causationId`: the id of the event or command that led to this one.
  ///   - traceparent: W3C Trace Context.
  ///   - others: Free keys. Where one of the three is among them, the argument of that name goes before it.
  public init(
    correlationID: String? = nil, causationID: String? = nil, traceparent: String? = nil,
    _ others: [String: String] = [:]
  ) {
    var values = others
    values["correlationId"] = correlationID ?? values["correlationId"]
    values["causationId"] = causationID ?? values["causationId"]
    values["traceparent"] = traceparent ?? values["traceparent"]
    guard !values.isEmpty else {
      json = []
      return
    }
    var writer = JSONWriter(capacity: 128)
    var separator: StaticString = "{"
    for (key, value) in values.sorted(by: { $0.key < $1.key }) {
      writer.append(raw: separator)
      writer.append(key: key)
      writer.append(value)
      separator = ","
    }
    writer.append(raw: "}")
    json = writer.take()
  }

  /// Takes a JSON object as it is.
  ///
  /// - Throws: ``InvalidMetadata`` when it is no JSON object, or has a key twice.
  public init(json: [UInt8]) throws(InvalidMetadata) {
    do {
      let members = try JSONText.topLevelMembers(of: json)
      self.json = members.isEmpty ? [] : JSONText.compacted(json)
    } catch {
      throw InvalidMetadata(problem: error.description)
    }
  }

  /// For bytes that come from the store.
  package init(trusted json: [UInt8]) { self.json = json }

  /// With further members, whose keys it must not have.
  package func adding(_ members: [(key: String, value: String)]) -> Metadata {
    var writer = JSONWriter(capacity: json.count + 32 + members.reduce(0) { $0 + $1.key.count + $1.value.count + 6 })
    // An object without white space around it: it ends with its brace.
    writer.append(raw: isEmpty ? [UInt8(ascii: "{")] : Array(json.dropLast()))
    for (index, member) in members.enumerated() {
      if index > 0 || !isEmpty { writer.append(raw: ",") }
      writer.append(key: member.key)
      writer.append(member.value)
    }
    writer.append(raw: "}")
    return Metadata(trusted: writer.take())
  }

  /// Whether they say the same, apart from which trace they belong to: an append that is tried again may be part of another.
  package func isSame(as other: Metadata) -> Bool {
    func members(_ metadata: Metadata) -> [String: ArraySlice<UInt8>] {
      guard !metadata.isEmpty, let members = try? JSONText.topLevelMembers(of: metadata.json) else { return [:] }
      return Dictionary(members.map { ($0.key, metadata.json[$0.value]) }, uniquingKeysWith: { $1 })
        .filter { !TraceContext.keys.contains($0.key) }
    }
    return self == other || members(self) == members(other)
  }

  /// Whether it has no members.
  public var isEmpty: Bool { json.isEmpty }

  /// The member `correlationId`: the same for everything that one request set off.
  public var correlationID: String? { self["correlationId"] }
  /// The member `causationId`: the id of the event or command that led to this one.
  public var causationID: String? { self["causationId"] }
  /// The member `traceparent`, of W3C Trace Context. Where a tracer is set up, an append within a span adds it to
  /// events that have no trace context.
  public var traceparent: String? { self["traceparent"] }

  /// The value of a key: a string's text, any other value's JSON text; `nil` if there is none.
  public subscript(key: String) -> String? {
    guard !json.isEmpty, let member = try? JSONText.topLevelMembers(of: json).first(where: { $0.key == key }) else {
      return nil
    }
    return json[member.value].withUnsafeBytes { raw in
      (try? JSONText.string(raw)) ?? String(decoding: raw, as: UTF8.self)
    }
  }
}

/// Metadata must be one JSON object without duplicate keys.
public struct InvalidMetadata: Error, Hashable, Sendable, CustomStringConvertible {
  /// Where it is wrong, by byte, and what should have stood there. It quotes nothing.
  public let problem: String
  public var description: String { "metadata is not a JSON object: \(problem)" }
}
