public import FoundationEssentials

/// The events of one kind of aggregate: an enum with a case for each.
///
/// ```swift
/// enum AccountEvent: AggregateEvent {
///   case opened(owner: String)
///   case deposited(cents: Int)
///
///   // The stored types: declared, so that renaming a case changes nothing in the log.
///   enum CodingKeys: String, CodingKey, CaseIterable {
///     case opened = "account.opened"
///     case deposited = "account.deposited"
///   }
/// }
/// ```
///
/// `deposited(cents: 5)` is stored with the type `account.deposited` and the payload `{"cents":5}`. A case with one
/// value that has no label is stored as that value's own JSON. Leave `Codable` to the compiler.
public protocol AggregateEvent: Codable, Sendable {
  /// The stored type of each case.
  associatedtype CodingKeys: CodingKey & CaseIterable & RawRepresentable & Hashable where CodingKeys.RawValue == String

  /// The version of the payload's shape, from 1; default 1 for every case. Raise it when the shape changes, and give
  /// the store an ``EventCodec`` with an upcaster.
  static func schemaVersion(of type: CodingKeys) -> Int
}

extension AggregateEvent {
  public static func schemaVersion(of type: CodingKeys) -> Int { 1 }

  /// The stored types of all cases.
  public static var eventTypes: [String] { CodingKeys.allCases.map(\.rawValue) }
}

extension EventCodec {
  /// The event as it is to be appended.
  ///
  /// - Throws: ``CodecError/encoding(type:reason:)``.
  public func encode<E: AggregateEvent>(
    _ event: E, metadata: Metadata = Metadata(), subject: String? = nil, id: UUID = .v7()
  ) throws(CodecError) -> EventData {
    do {
      // The compiler's Codable makes {"type":{…}}.
      let json = try Self.json(event)
      let members = try JSONText.topLevelMembers(of: json)
      guard members.count == 1, let key = E.CodingKeys(rawValue: members[0].key) else {
        throw CodecError.encoding(type: "\(E.self)", reason: "its Codable is not the compiler's own for an enum")
      }
      var payload = Array(json[members[0].value])
      let labels = try JSONText.topLevelMembers(of: payload)
      if labels.count == 1, labels[0].key == "_0" {
        payload = Array(payload[labels[0].value])
        // Read as a member of its own, it would be another event.
        if let members = try? JSONText.topLevelMembers(of: payload),
          let label = CaseLabels.of(E.self, key.rawValue, among: members.map(\.key)).first(where: { $0 != "_0" })
        {
          throw CodecError.encoding(
            type: key.rawValue, reason: "its value without a label has a member named as its label \(label) is")
        }
      } else if labels.isEmpty, !CaseLabels.of(E.self, key.rawValue, among: ["_0"]).isEmpty {
        // A value without a label that is nil.
        payload = Array("null".utf8)
      }
      return EventData(
        id: id, type: key.rawValue, schemaVersion: E.schemaVersion(of: key),
        payload: Payload(bytes: payload, content: .json), metadata: metadata, subject: subject)
    } catch let error as CodecError {
      throw error
    } catch {
      // Of the error only its kind: its text may quote the payload.
      throw .encoding(type: "\(E.self)", reason: "\(Swift.type(of: error))")
    }
  }

  /// The event as a case of `E`, raised by the upcasters to the case's schema version.
  ///
  /// - Throws: ``CodecError``: a type that is no case of `E`, a schema version without an upcaster, a payload that
  ///   cannot be opened or decoded.
  public func decode<E: AggregateEvent>(_ event: RecordedEvent, as type: E.Type) throws(CodecError) -> E {
    guard let key = E.CodingKeys(rawValue: event.type) else { throw .unknownType(event.type, known: E.eventTypes) }
    let (payload, version) = try upcasted(event)
    let expected = E.schemaVersion(of: key)
    guard version == expected else {
      throw .schemaVersion(type: event.type, found: version, expected: expected)
    }
    do {
      return try PayloadDecoder.decode(payload.bytes) { try E(from: CaseDecoder(type: event.type, payload: $0)) }
    } catch {
      throw .decoding(type: event.type, event: event.id, reason: Self.reason(error))
    }
  }
}

/// Looks to the compiler's `init(from:)` of an enum like `{"type":payload}`.
private struct CaseDecoder: Decoder {
  let type: String
  let payload: any Decoder

  var codingPath: [any CodingKey] { [] }
  var userInfo: [CodingUserInfoKey: Any] { payload.userInfo }

  func container<Key: CodingKey>(keyedBy keys: Key.Type) throws -> KeyedDecodingContainer<Key> {
    KeyedDecodingContainer(CaseContainer<Key>(type: type, payload: payload))
  }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { throw Self.notSynthesized }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { throw Self.notSynthesized }

  static var notSynthesized: DecodingError {
    .dataCorrupted(.init(codingPath: [], debugDescription: "an event's Codable is the compiler's own for an enum"))
  }
}

private struct CaseContainer<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let type: String
  let payload: any Decoder

  var codingPath: [any CodingKey] { [] }
  var allKeys: [Key] { Key(stringValue: type).map { [$0] } ?? [] }

  func contains(_ key: Key) -> Bool { key.stringValue == type }
  func decodeNil(forKey key: Key) throws -> Bool { false }

  func nestedContainer<Label: CodingKey>(
    keyedBy labels: Label.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Label> {
    // One value without a label is the payload itself; beside others it is a member, "_0", like them.
    if Label(stringValue: "_0") != nil {
      let members = try? payload.container(keyedBy: labels)
      if members.map({ $0.allKeys.allSatisfy { $0.stringValue == "_0" } }) ?? true {
        return KeyedDecodingContainer(UnlabelledContainer<Label>(payload: payload))
      }
    }
    return try payload.container(keyedBy: labels)
  }

  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T { throw CaseDecoder.notSynthesized }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    throw CaseDecoder.notSynthesized
  }
  func superDecoder() throws -> any Decoder { throw CaseDecoder.notSynthesized }
  func superDecoder(forKey key: Key) throws -> any Decoder { throw CaseDecoder.notSynthesized }
}

private struct UnlabelledContainer<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let payload: any Decoder

  var codingPath: [any CodingKey] { [] }
  var allKeys: [Key] { Key(stringValue: "_0").map { [$0] } ?? [] }

  func contains(_ key: Key) -> Bool { key.stringValue == "_0" }
  func decodeNil(forKey key: Key) throws -> Bool { try payload.singleValueContainer().decodeNil() }
  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
    guard contains(key) else {
      throw DecodingError.keyNotFound(
        key, .init(codingPath: [], debugDescription: "the payload is a value without a label"))
    }
    return try payload.singleValueContainer().decode(type)
  }
  func nestedContainer<Label: CodingKey>(
    keyedBy labels: Label.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Label> { try payload.container(keyedBy: labels) }
  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    try payload.unkeyedContainer()
  }
  func superDecoder() throws -> any Decoder { payload }
  func superDecoder(forKey key: Key) throws -> any Decoder { payload }
}

/// Finds out which names are labels of a case: the compiler's `init(from:)` says by what keys it asks.
private final class CaseLabels: Decoder {
  private let type: String
  private let names: [String]
  private var found: [String] = []

  private init(type: String, names: [String]) {
    self.type = type
    self.names = names
  }

  static func of<E: AggregateEvent>(_ event: E.Type, _ type: String, among names: [String]) -> [String] {
    let labels = CaseLabels(type: type, names: names)
    _ = try? E(from: labels)
    return labels.found
  }

  let codingPath: [any CodingKey] = []
  let userInfo: [CodingUserInfoKey: Any] = [:]

  func container<Key: CodingKey>(keyedBy keys: Key.Type) throws -> KeyedDecodingContainer<Key> {
    KeyedDecodingContainer(Container<Key>(labels: self))
  }
  func unkeyedContainer() throws -> any UnkeyedDecodingContainer { throw CaseDecoder.notSynthesized }
  func singleValueContainer() throws -> any SingleValueDecodingContainer { throw CaseDecoder.notSynthesized }

  private struct Container<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let labels: CaseLabels

    var codingPath: [any CodingKey] { [] }
    var allKeys: [Key] { Key(stringValue: labels.type).map { [$0] } ?? [] }

    func contains(_ key: Key) -> Bool { key.stringValue == labels.type }
    func nestedContainer<Label: CodingKey>(
      keyedBy keys: Label.Type, forKey key: Key
    ) throws -> KeyedDecodingContainer<Label> {
      labels.found = labels.names.filter { Label(stringValue: $0) != nil }
      throw CaseDecoder.notSynthesized
    }
    func decodeNil(forKey key: Key) throws -> Bool { throw CaseDecoder.notSynthesized }
    func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T { throw CaseDecoder.notSynthesized }
    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
      throw CaseDecoder.notSynthesized
    }
    func superDecoder() throws -> any Decoder { throw CaseDecoder.notSynthesized }
    func superDecoder(forKey key: Key) throws -> any Decoder { throw CaseDecoder.notSynthesized }
  }
}
