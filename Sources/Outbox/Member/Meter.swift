internal import FoundationEssentials
internal import Histogram
internal import Synchronization

/// What a member measures of itself.
final class Meter: Sendable {
  private struct State {
    var handled = 0
    var failed = 0
    var parked = 0
    var expired = 0
    var latencies = Histogram<UInt32>(highestTrackableValue: 3_600_000_000, numberOfSignificantValueDigits: .two)
    var since = ContinuousClock.now
    var last = MemberStatus()
  }
  private let state = Mutex(State())

  func handled(_ count: Int = 1) { state.withLock { $0.handled += count } }

  /// - Parameter nanoseconds: How long a handler took.
  func took(_ nanoseconds: Int64) {
    state.withLock { _ = $0.latencies.record(UInt64(min(max(0, nanoseconds / 1000), 3_600_000_000))) }
  }

  func failed() { state.withLock { $0.failed += 1 } }
  func parked() { state.withLock { $0.parked += 1 } }
  func expired() { state.withLock { $0.expired += 1 } }

  /// Since the last time that it was asked a second or longer ago.
  func status() -> MemberStatus {
    state.withLock { state in
      let now = ContinuousClock.now
      let seconds = state.since.duration(to: now) / .seconds(1)
      guard seconds >= 1 else { return state.last }
      var status = MemberStatus()
      status.rate = Double(state.handled) / seconds
      status.failures = Double(state.failed) / seconds
      if state.latencies.totalCount > 0 {
        status.handlerP50 = Double(state.latencies.valueAtPercentile(50)) / 1e6
        status.handlerP99 = Double(state.latencies.valueAtPercentile(99)) / 1e6
      }
      status.parked = state.last.parked + state.parked
      status.expired = state.last.expired + state.expired
      state = State(since: now, last: status)
      return status
    }
  }
}

/// What a member says of itself with each heartbeat.
public struct MemberStatus: Sendable, Hashable, Codable {
  /// Events that handlers have now.
  public var inFlight = 0
  /// Events in memory that wait for their turn.
  public var waiting = 0
  /// Keys of its shards that are behind: see ``ConsumerGroups/Status/keysBehind``.
  public var keysBehind = 0
  /// Events a second, lately.
  public var rate = 0.0
  /// Failed tries a second, lately.
  public var failures = 0.0
  /// Dead letters, since it joined.
  public var parked = 0
  /// Events that were passed over because they were too old, since it joined.
  public var expired = 0
  /// How long handlers took lately, in seconds: half of them no longer than this …
  public var handlerP50: Double?
  /// … and all but one in a hundred no longer than this.
  public var handlerP99: Double?
  /// It rests because its handlers failed one after the other.
  public var isBreakerOpen = false
  /// How many events it handles at a time, at most.
  public var concurrency = 0

  var json: String { String(decoding: (try? JSONEncoder().encode(self)) ?? Data("{}".utf8), as: UTF8.self) }

  init() {}

  init(json: String) {
    self = (try? JSONDecoder().decode(MemberStatus.self, from: Data(json.utf8))) ?? MemberStatus()
  }
}

extension GroupFailure {
  var json: String { String(decoding: (try? JSONEncoder().encode(self)) ?? Data("{}".utf8), as: UTF8.self) }
}
