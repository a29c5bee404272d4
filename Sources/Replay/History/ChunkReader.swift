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
  private var isAtEnd = false

  /// Payloads, in bytes: large events make small chunks.
  private static let mostBytes = 16 << 20
  private static let longest = Duration.milliseconds(250)

  /// Follows the log from a position on.
  package init(_ log: PostgreSQLEventLog, after position: Position, _ filter: LogFilter, mostEvents: Int) {
    source = .log(LogFollower(log, after: position, filter))
    self.mostEvents = mostEvents
    admits = nil
  }

  /// Reads a range to its end.
  ///
  /// - Parameter admits: What else decides whether an event is part of it.
  package init(
    _ events: EventSequence, mostEvents: Int, where admits: (@Sendable (RecordedEvent) -> Bool)? = nil
  ) {
    source = .range(events.pages.makeAsyncIterator())
    self.mostEvents = mostEvents
    self.admits = admits
  }

  package func next() async throws -> Step {
    if isAtEnd, case .log(let follower) = source {
      await follower.wait()
      try Task.checkCancellation()
    }
    isAtEnd = false
    var chunk: [RecordedEvent] = []
    var bytes = 0
    let start = ContinuousClock.now
    while chunk.count < mostEvents, bytes < Self.mostBytes, chunk.isEmpty || start.duration(to: .now) < Self.longest {
      guard var page = try await page() else {
        isAtEnd = true
        return chunk.isEmpty ? .caughtUp : .events(chunk, isLast: true)
      }
      if let admits { page.removeAll { !admits($0) } }
      for event in page {
        if case .success(let payload) = event.payload { bytes += payload.bytes.count }
      }
      chunk = chunk.isEmpty ? page : chunk + page
    }
    return .events(chunk, isLast: false)
  }

  private func page() async throws -> [RecordedEvent]? {
    switch source {
    case .log(let follower):
      if case .events(let page) = try await follower.next() { return page }
      return nil
    case .range(var iterator):
      defer { source = .range(iterator) }
      return try await iterator.next()
    }
  }

  /// At the end, of a log that is followed: everything up to here has been read.
  package func settled() async throws -> Position {
    guard case .log(let follower) = source else { return .start }
    return try await follower.settled()
  }
}
