/// One try of a change to several aggregates: what was loaded, and what is to be appended. See
/// ``AggregateStore/transact(_:)``.
///
/// For the task that runs the body alone.
public final class AggregateTransaction {
  private let store: AggregateStore
  private(set) var appends: [StreamAppend] = []
  private(set) var snapshots: [@Sendable () async -> Void] = []

  init(_ store: AggregateStore) { self.store = store }

  /// The aggregate as it is.
  ///
  /// - Parameter mayBeAbsent: A stream without events is given as it is before its first event.
  /// - Throws: ``AggregateError``: `notFound`, `event`, `missing`. ``ReadError``.
  public func load<A: Aggregate>(
    _ type: A.Type = A.self, _ id: String, mayBeAbsent: Bool = false
  ) async throws -> Loaded<A> {
    let (folded, stream) = try await store.fold(type, id, at: .latest)
    guard folded.version > 0 || mayBeAbsent else { throw AggregateError.notFound(stream) }
    // After the append: nothing comes before it.
    snapshots.append { [store] in await store.keepSnapshot(of: folded, stream) }
    return Loaded(id: id, stream: stream, version: folded.version, state: folded.state)
  }

  /// Appends to an aggregate when the body ends. To append to it again, use the aggregate that is returned.
  ///
  /// - Returns: The aggregate with the events.
  /// - Throws: ``CodecError``; ``AppendError/invalid(_:)`` where it is not the one that the last append returned.
  @discardableResult
  public func append<A: Aggregate>(
    _ events: [A.Event], to aggregate: Loaded<A>, metadata: Metadata = Metadata(), subject: String? = nil
  ) throws -> Loaded<A> {
    guard !events.isEmpty else { return aggregate }
    let data = try events.map { try store.codec.encode($0, metadata: metadata, subject: subject) }
    if let index = appends.firstIndex(where: { $0.stream == aggregate.stream }) {
      let last = appends[index].events.count
      guard case .exact(let first) = appends[index].expected, first + last == aggregate.version else {
        throw AppendError.invalid(
          "stream \(aggregate.stream) was appended to in this transaction already: go on with what that returned")
      }
      appends[index].events += data
    } else {
      appends.append(StreamAppend(data, to: aggregate.stream, expecting: .exact(aggregate.version)))
    }
    var state = aggregate.state
    for event in events { state.apply(event) }
    return Loaded(id: aggregate.id, stream: aggregate.stream, version: aggregate.version + events.count, state: state)
  }
}
