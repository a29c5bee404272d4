internal import EventStore
internal import FoundationEssentials

/// The log in chunks: as many events as are there, up to a bound in number, size and time. Used by one task at a time.
actor ChunkReader {
  enum Step: Sendable {
    case events([RecordedEvent])
    /// Everything has been read; the next call waits.
    case caughtUp
  }

  private let follower: LogFollower
  private let mostEvents: Int
  private var isAtEnd = false

  private static let mostBytes = 16 << 20
  private static let longest = Duration.milliseconds(250)

  init(_ log: PostgreSQLEventLog, after position: Position, _ filter: LogFilter, mostEvents: Int) {
    follower = LogFollower(log, after: position, filter)
    self.mostEvents = mostEvents
  }

  func next() async throws -> Step {
    if isAtEnd {
      await follower.wait()
      try Task.checkCancellation()
    }
    isAtEnd = false
    var chunk: [RecordedEvent] = []
    var bytes = 0
    let start = ContinuousClock.now
    while chunk.count < mostEvents, bytes < Self.mostBytes, chunk.isEmpty || start.duration(to: .now) < Self.longest {
      switch try await follower.next() {
      case .caughtUp:
        isAtEnd = true
        return chunk.isEmpty ? .caughtUp : .events(chunk)
      case .events(let page):
        for event in page {
          if case .success(let payload) = event.payload { bytes += payload.bytes.count }
        }
        chunk = chunk.isEmpty ? page : chunk + page
      }
    }
    return .events(chunk)
  }

  /// After `caughtUp`: everything up to here has been read.
  func settled() async throws -> Position { try await follower.settled() }
}
