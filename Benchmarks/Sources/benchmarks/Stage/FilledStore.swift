import EventStore

/// Events for scans and stream reads: streams of 100 events each. A thousand streams grow at the same time, one event
/// after the other, so that a stream's events lie scattered as they do in life.
enum FilledStore {
  static let streamLength = 100
  private static let streamsAtATime = 1000

  static func name(of stream: Int) throws -> StreamName { try StreamName(category: "account", id: "\(stream)") }

  static func streamCount(events: Int) -> Int { events / streamLength }

  @concurrent
  static func fill(
    _ configuration: EventLogConfiguration, events: Int, streamLength: Int = streamLength
  ) async throws {
    try await PostgreSQLEventLog.withLog(configuration) { log in
      let bulk = BulkAppend(log)
      let count = events / streamLength
      for first in stride(from: 0, to: count, by: streamsAtATime) {
        let streams = try (first..<min(first + streamsAtATime, count)).map(name)
        for version in 0..<streamLength {
          for (number, stream) in streams.enumerated() {
            try await bulk.append(SamplePayloads.event(number + version), to: stream)
          }
        }
      }
      try await bulk.finish()
    }
  }
}
