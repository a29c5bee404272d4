package import EventStore

extension Moment {
  /// The part of a stream that is its state at a moment.
  ///
  /// - Throws: `AggregateError`: `notFound`, `versionNotReached`, `notYet`.
  package func range(of stream: StreamName, in log: any EventLog) async throws -> StreamRange {
    guard let last = try await log.version(of: stream) else { throw AggregateError.notFound(stream) }
    switch self {
    case .latest: return .upTo(last)
    case .version(let version):
      guard (1...last).contains(version) else {
        throw AggregateError.versionNotReached(stream, asked: version, last: last)
      }
      return .upTo(version)
    case .time(let time):
      let range = StreamRange(versions: 1...last, until: time)
      var first = range
      first.limit = 1
      if try await log.read(stream, first).collect().isEmpty,
        let first = try await log.read(stream, .upTo(1)).collect().first
      {
        throw AggregateError.notYet(stream, asked: time, first: first.time)
      }
      return range
    }
  }
}
