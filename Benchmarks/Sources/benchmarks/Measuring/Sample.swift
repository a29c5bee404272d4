import Histogram

/// What one worker counted in one round.
struct Tally: Sendable {
  var events = 0
  /// One a call, in nanoseconds; empty where calls are not timed.
  var latencies: [UInt64] = []
}

/// What one contestant did in one round.
struct Sample: Sendable {
  private(set) var events = 0
  let seconds: Double
  /// In nanoseconds.
  private(set) var latency = Histogram<UInt64>(
    lowestDiscernibleValue: 128, highestTrackableValue: 600_000_000_000, numberOfSignificantValueDigits: .three)

  init(_ tallies: [Tally], seconds: Double) {
    self.seconds = seconds
    for tally in tallies {
      events += tally.events
      for nanoseconds in tally.latencies { latency.record(nanoseconds) }
    }
  }

  var eventsPerSecond: Double { Double(events) / seconds }
}

/// Runs `count` workers at the same time, each in a task of its own on the shared pool, and joins their tallies.
///
/// - Parameter worker: Gets its number and the moment at which it shall end.
func sideBySide(
  _ count: Int, for duration: Duration, _ worker: @escaping @Sendable (Int, UInt64) async throws -> Tally
) async throws -> Sample {
  try await sideBySide(count, from: Monotonic.now, for: duration, worker)
}

/// The same for a round that began, or begins, at a given moment.
func sideBySide(
  _ count: Int, from start: UInt64, for duration: Duration,
  _ worker: @escaping @Sendable (Int, UInt64) async throws -> Tally
) async throws -> Sample {
  let end = start + duration.nanoseconds
  let tallies = try await withThrowingTaskGroup(of: Tally.self) { group in
    for number in 0..<count { group.addTask { try await worker(number, end) } }
    return try await group.reduce(into: []) { $0.append($1) }
  }
  return Sample(tallies, seconds: Double(Monotonic.now - start) / 1e9)
}
