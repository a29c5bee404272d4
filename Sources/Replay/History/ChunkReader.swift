package import EventStore

/// Events in chunks: as many as are there, up to a bound in number, size and time. What reads history here, whatever it is
/// read into: a fold, a replay, a projection. Used by one task at a time, which may work on one chunk while the next is read.
package actor ChunkReader {
  package enum Step: Sendable {
    /// - isLast: Behind them there was nothing more.
    case events([RecordedEvent], isLast: Bool)
    /// Everything has been read, and nothing was left. Of a log that is followed the next call waits; of a range it is the end.
    case caughtUp
  }

  private enum Source {
    case log(LogFollower)
    case range(EventSequence.Pages.Iterator)
  }

  private var source: Source
  private let mostEvents: Int
  private let admits: (@Sendable (RecordedEvent) -> Bool)?
  /// Where a range ends, though the log goes on.
  private let upTo: Position?
  private var isAtEnd = false
  private var isPastEnd = false
  /// Read already, and more than there is room for.
  private var rest: [RecordedEvent] = []

  /// Payloads, in bytes: large events make small chunks.
  private static let mostBytes = 16 << 20
  private static let longest = Duration.milliseconds(250)

  /// Follows the log from a position on.
  package init(_ log: PostgreSQLEventLog, after position: Position, _ filter: LogFilter, mostEvents: Int) {
    source = .log(LogFollower(log, after: position, filter))
    self.mostEvents = mostEvents
    admits = nil
    upTo = nil
  }

  /// Reads a range to its end.
  ///
  /// - Parameters:
  ///   - upTo: The last position of the range: nothing is read behind the page that it is in.
  ///   - admits: What else decides whether an event is part of it.
  package init(
    _ events: EventSequence, mostEvents: Int, upTo: Position? = nil,
    where admits: (@Sendable (RecordedEvent) -> Bool)? = nil
  ) {
    source = .range(events.pages.makeAsyncIterator())
    self.mostEvents = mostEvents
    self.admits = admits
    self.upTo = upTo
  }

  package func next() async throws -> Step {
    if isAtEnd, case .log(let follower) = source {
      await follower.wait()
      try Task.checkCancellation()
    }
    isAtEnd = false
    var chunk = rest
    rest = []
    var bytes = chunk.reduce(0) { $0 + Self.size($1) }
    let start = ContinuousClock.now
    while chunk.count < mostEvents, bytes < Self.mostBytes, chunk.isEmpty || start.duration(to: .now) < Self.longest {
      guard var page = try await page() else {
        isAtEnd = true
        return chunk.isEmpty ? .caughtUp : .events(chunk, isLast: true)
      }
      if let admits { page.removeAll { !admits($0) } }
      for event in page { bytes += Self.size(event) }
      chunk = chunk.isEmpty ? page : chunk + page
    }
    if chunk.count > mostEvents {
      rest = Array(chunk[mostEvents...])
      chunk.removeLast(rest.count)
    }
    return .events(chunk, isLast: false)
  }

  private static func size(_ event: RecordedEvent) -> Int {
    if case .success(let payload) = event.payload { payload.bytes.count } else { 0 }
  }

  private func page() async throws -> [RecordedEvent]? {
    if isPastEnd { return nil }
    switch source {
    case .log(let follower):
      if case .events(let page) = try await follower.next() { return page }
      return nil
    case .range(var iterator):
      defer { source = .range(iterator) }
      let page = try await iterator.next()
      if let upTo, let last = page?.last, last.position >= upTo { isPastEnd = true }
      return page
    }
  }

  /// At the end, of a log that is followed: everything up to here has been read.
  package func settled() async throws -> Position {
    guard case .log(let follower) = source else { return .start }
    return try await follower.settled()
  }
}
