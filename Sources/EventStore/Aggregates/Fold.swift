/// A way to make one state out of a stream's events.
package protocol Fold: Sendable {
  associatedtype State: Sendable
  /// What an event says to the state.
  associatedtype Step: Sendable

  var shape: SnapshotShape { get }
  var snapshotPolicy: SnapshotPolicy<State> { get }

  /// The state before the first event.
  func initialState() -> State
  /// Takes the event apart; called for many events at once. `nil`: the event changes nothing.
  func step(_ event: RecordedEvent) throws(CodecError) -> Step?
  /// In their order; `nil`: an event that changes nothing.
  func apply(_ steps: [Step?], to state: inout State)

  /// - Throws: anything; the state is then not kept.
  func encode(_ state: State) throws -> Payload
  /// - Throws: anything; the snapshot is then not used.
  func decode(_ payload: Payload) throws -> State
  /// The state for people and programs to look at: a JSON object.
  func display(_ state: State) throws -> [UInt8]
}

extension Fold {
  package func display(_ state: State) throws -> [UInt8] { try encode(state).bytes }
}

/// The fold of an ``Aggregate``.
package struct AggregateFold<A: Aggregate>: Fold {
  private let codec: EventCodec
  private let ignoredTypes: Set<String>
  package let shape: SnapshotShape

  package init(_ codec: EventCodec) {
    self.codec = codec
    ignoredTypes = A.ignoredEventTypes
    // Two aggregates of one category may look alike; and what becomes of which events is part of what a state means.
    let fingerprint = StateShape.fingerprint(of: A.self, upcasters: codec.upcasterNames) {
      ["\(A.self)"] + A.Event.CodingKeys.allCases.map { "\($0.rawValue) \(A.Event.schemaVersion(of: $0))" }.sorted()
        + ["ignored"] + A.ignoredEventTypes.sorted()
    }
    shape = SnapshotShape(stateType: A.category, schemaVersion: A.schemaVersion, fingerprint: fingerprint)
  }

  package var snapshotPolicy: SnapshotPolicy<A> { A.snapshotPolicy }

  package func initialState() -> A { A() }

  package func step(_ event: RecordedEvent) throws(CodecError) -> A.Event? {
    if !ignoredTypes.isEmpty, ignoredTypes.contains(event.type) { return nil }
    return try codec.decode(event, as: A.Event.self)
  }

  package func apply(_ steps: [A.Event?], to state: inout A) { state.apply(all: steps) }

  package func encode(_ state: A) throws -> Payload {
    Payload(bytes: try EventCodec.json(state), content: .json)
  }

  package func decode(_ payload: Payload) throws -> A {
    try PayloadDecoder.decode(A.self, from: payload.bytes)
  }
}
