public import EventStore
public import FoundationEssentials

/// A consumer group: which events it is of, in what order they are delivered, and what becomes of those that fail.
///
/// Each group gets every event of its filter. Inside a group each event goes to one member, at least once; events of one key
/// in the order of the log, one at a time; keys do not wait for each other.
public struct ConsumerGroup: Sendable, Hashable, Codable {
  /// 1 to 100 bytes, without control characters.
  public var name: String
  /// Which events it gets. Fixed once the group is made.
  public var filter: GroupFilter
  /// What must stay in order. Fixed once the group is made.
  public var key: PartitionKey
  /// Can be changed: see ``ConsumerGroups/update(_:_:)``.
  public var policy: GroupPolicy

  /// By default: every event, in order by stream. ``ConsumerGroups/create(_:from:)`` checks the values.
  public init(
    _ name: String, filter: GroupFilter = GroupFilter(), key: PartitionKey = .stream,
    policy: GroupPolicy = GroupPolicy()
  ) {
    self.name = name
    self.filter = filter
    self.key = key
    self.policy = policy
  }
}

/// Which events a group is of. An empty list means: all.
public struct GroupFilter: Sendable, Hashable, Codable {
  /// Of the streams: whole names, no patterns.
  public var categories: [String]
  /// Event types; `*` stands for any characters: `account.*`.
  public var types: [String]
  /// An event passes when each of these metadata keys has one of its values.
  public var metadata: [String: [String]]

  /// An event must pass all that is given.
  public init(categories: [String] = [], types: [String] = [], metadata: [String: [String]] = [:]) {
    self.categories = categories
    self.types = types
    self.metadata = metadata
  }

  /// As far as the server can tell.
  var log: LogFilter {
    var filter = LogFilter(categories: categories, types: types.filter { !TypePattern.isPattern($0) })
    filter.typePatterns = types.filter(TypePattern.isPattern).map(TypePattern.like)
    return filter
  }

  /// What the server looks at.
  func admits(stream: String, type: String) -> Bool {
    if !categories.isEmpty {
      let category = ExactName(StreamName(trusted: stream).category)
      guard categories.contains(where: { ExactName($0) == category }) else { return false }
    }
    return types.isEmpty || types.contains { TypePattern.matches(type, $0) }
  }

  /// What the server did not look at.
  func admits(_ metadata: Metadata) -> Bool {
    self.metadata.allSatisfy { key, values in metadata[key].map { values.contains($0) } ?? false }
  }
}

/// What must stay in order.
public enum PartitionKey: Sendable, Hashable {
  /// Events of one stream.
  case stream
  /// Events that have one value of a metadata key, such as a customer's; one without it is ordered in its stream.
  case metadata(String)
  /// Nothing.
  case none

  /// The key of an event. Its shard depends on nothing else: so all events of a key have one owner.
  func key(of event: RecordedEvent) -> (name: String, shard: UInt8) {
    switch self {
    case .stream: return (event.stream.description, event.shard)
    case .metadata(let field):
      guard let value = event.metadata[field] else { return (event.stream.description, event.shard) }
      // What a row cannot hold, or an index, is known by its digest; and what would be taken for a name with a lane.
      let name =
        value.utf8.count <= 600 && !value.utf8.contains { $0 == 0 || $0 == CursorRules.laneSeparator }
        ? value : UUID.v8(digestOf: Array(value.utf8)).uuidString.lowercased()
      return (name, ShardSet.shard(of: name))
    case .none: return (event.position.description, event.shard)
    }
  }

  /// Whether the log's own shard is the key's.
  var isByStream: Bool { if case .metadata = self { false } else { true } }
}

extension PartitionKey: Codable, LosslessStringConvertible {
  /// `stream`, `none` or `metadata:FIELD`.
  public var description: String {
    switch self {
    case .stream: "stream"
    case .metadata(let field): "metadata:\(field)"
    case .none: "none"
    }
  }

  /// Reads what ``description`` says; `nil` for anything else.
  public init?(_ description: String) {
    switch description {
    case "stream": self = .stream
    case "none": self = .none
    default:
      guard description.hasPrefix("metadata:"), description.utf8.count > 9 else { return nil }
      self = .metadata(String(description.dropFirst(9)))
    }
  }

  public init(from decoder: any Decoder) throws {
    let text = try decoder.singleValueContainer().decode(String.self)
    guard let key = PartitionKey(text) else {
      throw DecodingError.dataCorrupted(
        .init(codingPath: decoder.codingPath, debugDescription: "expected stream, none or metadata:FIELD"))
    }
    self = key
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}

/// Where a group begins.
public enum GroupStart: Sendable, Hashable {
  /// With the first event of the log.
  case beginning
  /// After the events that are there.
  case end
  /// Not beyond the end of the log: that is ``OutboxError/invalid(_:)``.
  case after(Position)
  /// With the events that were recorded at this time or later, by the server's clock; where there are none, as `end`.
  case since(Date)
}
