public import EventStore
internal import FoundationEssentials

/// A test of one decision: the events that have happened, the decision, and the events that it must return, or the
/// error that it must throw.
///
/// ```swift
/// @Test func overdrawn() throws {
///   try Given<Account>(.opened(owner: "Ada"), .deposited(cents: 500))
///     .when { try $0.withdraw(600) }
///     .then(throws: AccountError.insufficientFunds)
/// }
/// ```
///
/// The events go through their stored form and back, as they will in the log.
public struct Given<A: Aggregate> {
  private let events: [A.Event]

  /// What has happened in the aggregate's stream, in order, from its first event on; none: it is new.
  public init(_ events: A.Event...) { self.events = events }
  /// The same, of an array.
  public init(_ events: [A.Event]) { self.events = events }

  /// Makes the decision on the state that the events lead to. What it throws is kept for the ``Outcome``.
  ///
  /// - Throws: `CodecError`: an event does not come back from its stored form.
  public func when(_ decide: (A) throws -> [A.Event]) throws -> Outcome<A> {
    var state = A()
    for event in try Stored.throughTheLog(events) { state.apply(event) }
    return Outcome(state: state, result: Result { try decide(state) })
  }

  /// Checks the state that the events lead to.
  ///
  /// - Throws: ``UnexpectedOutcome``, what `check` throws, `CodecError`.
  public func then(_ check: (A) throws -> Bool) throws {
    var state = A()
    for event in try Stored.throughTheLog(events) { state.apply(event) }
    guard try check(state) else { throw UnexpectedOutcome("the state was \(state)") }
  }
}

/// What a decision came to.
public struct Outcome<A: Aggregate> {
  let state: A
  let result: Result<[A.Event], any Error>

  /// It returned these events: compared as they are stored.
  ///
  /// - Throws: ``UnexpectedOutcome``.
  public func then(_ expected: A.Event...) throws { try then(expected) }

  /// It returned these events: compared as they are stored.
  ///
  /// - Throws: ``UnexpectedOutcome``.
  public func then(_ expected: [A.Event]) throws {
    switch result {
    case .success(let events):
      guard try Stored.forms(events) == Stored.forms(expected) else {
        throw UnexpectedOutcome("expected \(expected), found \(events)")
      }
    case .failure(let error): throw UnexpectedOutcome("expected \(expected), but it threw \(error)")
    }
  }

  /// It decided that nothing happens.
  ///
  /// - Throws: ``UnexpectedOutcome``.
  public func thenNothing() throws { try then([]) }

  /// It threw this error.
  ///
  /// - Throws: ``UnexpectedOutcome``.
  public func then<E: Error & Equatable>(throws expected: E) throws {
    switch result {
    case .success(let events): throw UnexpectedOutcome("expected the error \(expected), but it returned \(events)")
    case .failure(let error):
      guard let found = error as? E, found == expected else {
        throw UnexpectedOutcome("expected the error \(expected), found \(error)")
      }
    }
  }

  /// It returned events that lead to a state like this.
  ///
  /// - Throws: ``UnexpectedOutcome``.
  public func thenState(_ check: (A) throws -> Bool) throws {
    switch result {
    case .success(let events):
      var state = state
      for event in try Stored.throughTheLog(events) { state.apply(event) }
      guard try check(state) else { throw UnexpectedOutcome("the state was \(state)") }
    case .failure(let error): throw UnexpectedOutcome("expected events, but it threw \(error)")
    }
  }
}

/// A decision that came to something else than the test said.
public struct UnexpectedOutcome: Error, Sendable, CustomStringConvertible {
  public let description: String
  init(_ description: String) { self.description = description }
}

private enum Stored {
  /// Type and payload of each, in bytes.
  static func forms(_ events: [some AggregateEvent]) throws -> [[[UInt8]]] {
    try events.map { event in
      let data = try EventCodec().encode(event)
      return [Array(data.type.utf8), data.payload.bytes]
    }
  }

  /// The events as they come back from the log.
  static func throughTheLog<E: AggregateEvent>(_ events: [E]) throws -> [E] {
    try events.enumerated().map { index, event in
      let data = try EventCodec().encode(event)
      let recorded = RecordedEvent(
        id: data.id, stream: "given-1", version: index + 1, position: .start, type: data.type,
        schemaVersion: data.schemaVersion, recordedAt: Date(), payload: .success(data.payload))
      return try EventCodec().decode(recorded, as: E.self)
    }
  }
}
