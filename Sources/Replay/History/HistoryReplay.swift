public import EventStore
public import FoundationEssentials

/// Which part of the log to replay. What is not said means: all.
public struct HistoryRange: Sendable, Hashable {
  /// Events after this position …
  public var after = Position.start
  /// … up to this one. Default: where the log is decided when reading starts.
  public var upTo: Position?
  /// Events that happened at this time or later …
  public var since: Date?
  /// … and not after this one.
  public var until: Date?
  /// Only of streams of these categories …
  public var categories: [String] = []
  /// … of these stored types …
  public var types: [String] = []
  /// … and of these streams. An event must pass all three.
  public var streams: Set<StreamName> = []

  /// The whole log, as far as it is decided when reading starts.
  public init() {}

  func admits(_ event: RecordedEvent) -> Bool {
    (streams.isEmpty || streams.contains(event.stream)) && since.map { event.time >= $0 } ?? true
      && until.map { event.time <= $0 } ?? true && upTo.map { event.position <= $0 } ?? true
  }

  /// What the server can leave out by itself.
  var filter: LogFilter {
    LogFilter(
      categories: categories.isEmpty ? Set(streams.map(\.category)).sorted() : categories, types: types)
  }
}

/// Where history is replayed into.
public protocol ReplaySink {
  /// Takes events, in the order of the log; not none. When it returns, they have arrived: a replay that is resumed goes on
  /// after them.
  mutating func take(_ events: [RecordedEvent]) async throws
}

/// A replay of a part of the log into a sink, in order, each event at least once: exactly once as long as it is not
/// interrupted.
public struct HistoryReplay: Sendable {
  public let range: HistoryRange
  /// Events a second, at most; `nil`: as fast as the sink takes them.
  public let rate: Int?
  /// Events that the sink is given at a time, at most.
  public let batch: Int

  /// - Parameters:
  ///   - rate: Less than 1 counts as 1.
  ///   - batch: Less than 1 counts as 1. With a `rate`, cut to a tenth of that, but not below 1.
  public init(_ range: HistoryRange, rate: Int? = nil, batch: Int = 1000) {
    self.range = range
    self.rate = rate.map { max(1, $0) }
    // A limited one comes in ten steps a second.
    self.batch = max(1, min(batch, rate.map { max(1, $0 / 10) } ?? batch))
  }

  /// How far it has come.
  public struct Progress: Sendable, Hashable {
    /// That have arrived.
    public var events = 0
    /// Of the last event that has arrived; before the first one, where the range begins.
    public var position: Position
  }

  /// Replays. To resume, give a range that begins after the position that was reached.
  ///
  /// - Parameter progress: Told after each batch that has arrived.
  /// - Throws: What the sink throws; `ReadError`.
  @discardableResult
  public func run(
    from log: PostgreSQLEventLog, into sink: inout some ReplaySink,
    progress: (Progress) async throws -> Void = { _ in }
  ) async throws -> Progress {
    let events = log.readAll(after: range.after, where: range.filter)
    let reader = ChunkReader(events, mostEvents: max(batch, 1000), upTo: range.upTo) { [range] in range.admits($0) }
    var done = Progress(position: range.after)
    let start = ContinuousClock.now
    var step = try await reader.next()
    while case .events(let chunk, _) = step {
      async let next = reader.next()
      var index = 0
      while index < chunk.count {
        try Task.checkCancellation()
        let part = Array(chunk[index..<min(index + batch, chunk.count)])
        try await sink.take(part)
        index += part.count
        done.events += part.count
        done.position = part.last?.position ?? done.position
        try await progress(done)
        if let rate { try await Task.sleep(until: start + .seconds(Double(done.events) / Double(rate))) }
      }
      step = try await next
    }
    return done
  }
}
