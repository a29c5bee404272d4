public import EventStore
public import Outbox

/// What the tests of all relays forward, and how.
public enum Relayed {
  /// `each` events to each of streams `item-0` …
  ///
  /// - Parameter bytes: Of a text in each.
  public static func append(_ log: PostgreSQLEventLog, streams: Int, each count: Int, bytes: Int = 200) async throws {
    for stream in 0..<streams {
      try await log.append(
        (0..<count).map { turn in
          EventData(
            type: "made", payload: .json("{\"turn\":\(turn),\"text\":\"\(String(repeating: "x", count: bytes))\"}"),
            metadata: Metadata(traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
        }, to: try StreamName("item-\(stream)"), expecting: .any)
    }
  }

  /// Three tries, in no time: what is counted as one is soon given up.
  public static var policy: GroupPolicy {
    GroupPolicy(retry: RetryPolicy(.fixed(0.01), attempts: 3), breaker: CircuitBreaker(failures: 20, pause: 0.2))
  }

  public static var untilEmpty: GroupConsumer.Options {
    var options = GroupConsumer.Options()
    options.concurrency = 100
    options.endsWhenEmpty = true
    options.endsWhenStopped = true
    return options
  }

  /// All of `streams` streams, each with versions up to `count`, in order.
  public static func versions(streams: Int, each count: Int) -> [String: [Int]] {
    Dictionary(uniqueKeysWithValues: (0..<streams).map { ("item-\($0)", Array(1...count)) })
  }
}
