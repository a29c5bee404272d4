public import FoundationEssentials

/// The state of one kind of aggregate, and how its events change it.
///
/// ```swift
/// struct Account: Aggregate {
///   static let category = "account"
///   var cents = 0
///
///   mutating func apply(_ event: AccountEvent) {
///     switch event {
///     case .opened: break
///     case .deposited(let amount): cents += amount
///     case .withdrawn(let amount): cents -= amount
///     }
///   }
///
///   func withdraw(_ amount: Int) throws -> [AccountEvent] {
///     guard amount <= cents else { throw AccountError.insufficientFunds }
///     return [.withdrawn(cents: amount)]
///   }
/// }
/// ```
///
/// Decisions are functions of your own that return events, or throw an error of your own; they change nothing.
/// ``AggregateStore`` loads, asks for the decision, and appends.
///
/// It is Codable for its snapshots: every stored property must be encoded, and come back as it was.
public protocol Aggregate: Codable, Sendable {
  /// Its events: an enum with a case for each.
  associatedtype Event: AggregateEvent

  /// The category of its streams: aggregate `42` is the stream `category-42`. Also the declared name of its snapshots.
  static var category: String { get }

  /// The version of what `apply` makes of the events; default 1. Raise it when the same events give another state, so
  /// that older snapshots are not used. A change of the stored properties is noticed without that.
  static var schemaVersion: Int { get }

  /// Stored types that are passed over: events of an earlier time that mean nothing any more. Default: none, and an
  /// event that is no case of ``Event`` is an error.
  static var ignoredEventTypes: Set<String> { get }

  /// When a snapshot is made; default: every 100 events.
  static var snapshotPolicy: SnapshotPolicy<Self> { get }

  /// The state before the first event.
  init()

  /// What an event changes. It must depend on nothing but the state and the event, and cannot refuse: the event has
  /// happened.
  mutating func apply(_ event: Event)

  /// Applies events one after the other, passing over nothing's. Leave it as it is: it stands here so that it is compiled
  /// for your type, where your module is, and a long replay costs no generic call an event.
  mutating func apply(all events: [Event?])
}

extension Aggregate {
  public static var schemaVersion: Int { 1 }
  public static var ignoredEventTypes: Set<String> { [] }
  public static var snapshotPolicy: SnapshotPolicy<Self> { .every(100) }

  /// The stream of the aggregate `id`.
  ///
  /// - Throws: ``InvalidName``.
  public static func stream(_ id: String) throws(InvalidName) -> StreamName {
    try StreamName(category: category, id: id)
  }

  @inlinable
  public mutating func apply(all events: [Event?]) {
    for index in events.indices { if let event = events[index] { apply(event) } }
  }

  /// The state after these events.
  public static func folding(_ events: some Sequence<Event>) -> Self {
    var state = Self()
    for event in events { state.apply(event) }
    return state
  }
}

/// An aggregate as it was loaded: its state, and the version of its stream that the state is of.
@dynamicMemberLookup
public struct Loaded<A: Aggregate>: Sendable {
  /// What follows the category: `42` of the stream `account-42`.
  public let id: String
  /// Its category and ``id``, with a `-` between them.
  public let stream: StreamName
  /// The last event in the state; 0 before the first.
  public let version: Int
  /// After the event ``version``.
  public let state: A

  /// The state's own members: `account.cents` is `account.state.cents`.
  public subscript<V>(dynamicMember path: KeyPath<A, V>) -> V { state[keyPath: path] }
}

/// Which state of a stream to look at.
public enum Moment: Sendable, Hashable {
  /// After its last event.
  case latest
  /// After the event with this version, from 1.
  case version(Int)
  /// With all events that had happened by then: those whose ``RecordedEvent/time`` is not after it.
  case time(Date)
}
