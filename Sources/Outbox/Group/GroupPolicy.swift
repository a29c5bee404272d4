internal import EventStore

/// What becomes of a group's events that fail, and how fast it may go. Times are in seconds.
public struct GroupPolicy: Sendable, Hashable, Codable {
  /// When an event that failed is tried again, and how often.
  public var retry: RetryPolicy
  /// What becomes of it when the last try has failed, too.
  public var afterLastRetry: AfterLastRetry
  /// How long a handler may take for one event; `nil`: as long as it likes.
  public var timeout: Double?
  /// Every event is delivered this long after it was recorded.
  public var delay: Double
  /// An event that is older than this, counted from when it was recorded and was to be delivered, is passed over;
  /// `nil`: none is.
  public var expiry: Double?
  /// Events a second, at most, of the whole group; `nil`: as many as can be.
  public var rate: Double?
  /// Events a second, at most, of each key; `nil`: as many as can be.
  public var ratePerKey: Double?
  /// `nil`: its consumers never rest.
  public var breaker: CircuitBreaker?
  /// What to do about events whose metadata say `deliverAfter` (RFC 3339), and that time has not come; `nil`: nothing.
  public var timers: TimerPolicy?
  /// Of the events of a key that wait, only the latest is delivered; the others are passed over.
  public var conflates: Bool
  /// Which events come before others, the most urgent first; what no rule fits comes last. Order holds among the events of a key
  /// that are of one lane. They can be changed while no key of the group is behind.
  public var priorities: [PriorityRule]
  /// What has waited so long for more urgent events comes before them, in seconds.
  public var ageing: Double

  /// What later events of a key do while one waits for its time.
  public enum TimerPolicy: String, Sendable, Hashable, Codable, CaseIterable {
    /// Later events of its key wait, too.
    case hold
    /// Later events of its key pass it.
    case pass
  }

  /// What to do with an event whose last retry has failed.
  public enum AfterLastRetry: String, Sendable, Hashable, Codable, CaseIterable {
    /// Make it a dead letter; its key goes on.
    case park
    /// Make it a dead letter; later events of its key wait until a person has decided.
    case parkAndHold = "park-and-hold"
    /// The group stops, before it.
    case stop
  }

  /// Checks nothing. What is out of range is ``OutboxError/invalid(_:)`` when the group is made or updated:
  ///
  /// - `timeout`, `ageing`: 0.001 seconds to a day;
  /// - `delay`: 0 seconds to 366 days; `expiry`: 0.001 seconds to a hundred times that;
  /// - `rate`, `ratePerKey`: 0.001 to 10,000,000;
  /// - `priorities`: 8 at most.
  public init(
    retry: RetryPolicy = RetryPolicy(), afterLastRetry: AfterLastRetry = .park, timeout: Double? = nil,
    delay: Double = 0, expiry: Double? = nil, rate: Double? = nil, ratePerKey: Double? = nil,
    breaker: CircuitBreaker? = CircuitBreaker(), timers: TimerPolicy? = nil, conflates: Bool = false,
    priorities: [PriorityRule] = [], ageing: Double = 2
  ) {
    self.retry = retry
    self.afterLastRetry = afterLastRetry
    self.timeout = timeout
    self.delay = delay
    self.expiry = expiry
    self.rate = rate
    self.ratePerKey = ratePerKey
    self.breaker = breaker
    self.timers = timers
    self.conflates = conflates
    self.priorities = priorities
    self.ageing = ageing
  }

  /// 0 is the most urgent lane.
  func lane(type: String, metadata: @autoclosure () -> Metadata) -> Int {
    guard !priorities.isEmpty else { return 0 }
    let metadata = metadata()
    return priorities.firstIndex { $0.fits(type, metadata) } ?? priorities.count
  }
}

/// Which events are urgent: those that fit all of it.
public struct PriorityRule: Sendable, Hashable, Codable {
  /// Event types; `*` stands for any characters. Empty: any.
  public var types: [String]
  /// Metadata keys, and one of the values that they must have.
  public var metadata: [String: [String]]

  /// A rule that fits every event, as one without arguments does, is refused when the group is made or updated.
  public init(types: [String] = [], metadata: [String: [String]] = [:]) {
    self.types = types
    self.metadata = metadata
  }

  func fits(_ type: String, _ metadata: Metadata) -> Bool {
    (types.isEmpty || types.contains { TypePattern.matches(type, $0) })
      && self.metadata.allSatisfy { key, values in metadata[key].map { values.contains($0) } ?? false }
  }
}

/// When an event that failed is tried again.
public struct RetryPolicy: Sendable, Hashable, Codable {
  /// How long it takes until the next try, in seconds: from 0 to 366 days. A factor is 1 to 1000, `most` no less than
  /// `first`, a list not empty.
  public enum Delays: Sendable, Hashable {
    /// Always the same.
    case fixed(Double)
    /// The first, each further one `factor` times the one before it, up to `most`; each shortened at random by up to half, so
    /// that what failed together does not come again together.
    case exponential(first: Double, factor: Double, most: Double)
    /// One after the other; the last again and again.
    case list([Double])
  }

  /// Unless the handler says it itself: see ``Disposition/retry(after:reason:)``.
  public var delays: Delays
  /// How often an event is tried, the first time included: 1 to 1,000,000.
  public var attempts: Int
  /// No further try that would begin, by these delays, more than this after the first failure, in seconds; `nil`: there
  /// is no such limit.
  public var deadline: Double?

  /// By default 8 tries, within about a minute. The values are checked when the group is made or updated.
  public init(
    _ delays: Delays = .exponential(first: 0.5, factor: 2, most: 300), attempts: Int = 8, deadline: Double? = nil
  ) {
    self.delays = delays
    self.attempts = attempts
    self.deadline = deadline
  }

  /// - Parameters:
  ///   - failures: Of this event, this one included.
  ///   - age: Seconds since the first.
  /// - Returns: Seconds until the next try; `nil`: it was the last.
  func delay(
    after failures: Int, age: Double, _ random: inout some RandomNumberGenerator
  ) -> Double? {
    guard failures < attempts else { return nil }
    let delay =
      switch delays {
      case .fixed(let delay): delay
      case .exponential(let first, let factor, let most):
        min(most, first * Self.power(factor, failures - 1, upTo: most / max(first, 1e-9)))
          * Double.random(in: 0.5...1, using: &random)
      case .list(let delays): delays.isEmpty ? 0 : delays[min(failures, delays.count) - 1]
      }
    if let deadline, age + delay > deadline { return nil }
    return delay
  }

  private static func power(_ base: Double, _ exponent: Int, upTo most: Double) -> Double {
    var result = 1.0
    for _ in 0..<max(0, exponent) where result < most { result *= base }
    return result
  }
}

/// Rests a member whose handlers fail one after the other: what they need is probably away, and no event is to blame.
public struct CircuitBreaker: Sendable, Hashable, Codable {
  /// So many failures in a row, of whatever keys, open it …
  public var failures: Int
  /// … for so long, in seconds; then one event tries whether it goes again.
  public var pause: Double

  /// Checked when the group is made or updated: 1 to 1,000,000 failures, a pause of 0.001 seconds to a day.
  public init(failures: Int = 20, pause: Double = 5) {
    self.failures = failures
    self.pause = pause
  }
}

extension ConsumerGroup {
  /// - Throws: ``OutboxError`` with `invalid`.
  func check() throws(OutboxError) {
    func require(_ holds: Bool, _ problem: String) throws(OutboxError) {
      guard holds else { throw .invalid("group \(name.prefix(100).debugDescription): \(problem)") }
    }
    func check(_ value: Double?, _ name: String, _ range: ClosedRange<Double>, _ unit: String) throws(OutboxError) {
      guard let value else { return }
      try require(
        range.contains(value), "\(name) is \(value): expected \(range.lowerBound) to \(range.upperBound) \(unit)")
    }
    try require((1...100).contains(name.utf8.count), "a name has 1 to 100 bytes")
    try require(name.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }, "a name has no control characters")
    let year = 366 * 86_400.0
    try check(policy.timeout, "timeout", 0.001...86_400, "seconds")
    try check(policy.delay, "delay", 0...year, "seconds")
    try check(policy.expiry, "expiry", 0.001...(100 * year), "seconds")
    try check(policy.rate, "rate", 0.001...1e7, "events a second")
    try check(policy.ratePerKey, "rate per key", 0.001...1e7, "events a second")
    try require((1...1_000_000).contains(policy.retry.attempts), "attempts: expected 1 to 1000000")
    try check(policy.retry.deadline, "deadline", 0...year, "seconds")
    switch policy.retry.delays {
    case .fixed(let delay): try check(delay, "retry delay", 0...year, "seconds")
    case .exponential(let first, let factor, let most):
      try check(first, "first retry delay", 0...year, "seconds")
      try check(factor, "factor of retry delays", 1...1000, "")
      try check(most, "longest retry delay", first...year, "seconds")
    case .list(let delays):
      try require(!delays.isEmpty, "a list of retry delays has at least one")
      for delay in delays { try check(delay, "retry delay", 0...year, "seconds") }
    }
    if let breaker = policy.breaker {
      try require((1...1_000_000).contains(breaker.failures), "failures of the breaker: expected 1 to 1000000")
      try check(breaker.pause, "pause of the breaker", 0.001...86_400, "seconds")
    }
    try check(policy.ageing, "ageing", 0.001...86_400, "seconds")
    try require(policy.priorities.count <= 8, "at most 8 priorities")
    for rule in policy.priorities {
      try require(!rule.types.isEmpty || !rule.metadata.isEmpty, "a priority that fits every event")
    }
    if case .metadata(let field) = key { try require(!field.isEmpty, "the metadata key is empty") }
    for type in filter.types { try require(!type.isEmpty, "an event type is empty") }
  }
}

extension RetryPolicy.Delays: Codable {
  private enum CodingKeys: String, CodingKey {
    case fixed, exponential, list
  }

  private struct Exponential: Codable {
    let first: Double
    let factor: Double
    let most: Double
  }

  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    if let delay = try container.decodeIfPresent(Double.self, forKey: .fixed) {
      self = .fixed(delay)
    } else if let delays = try container.decodeIfPresent([Double].self, forKey: .list) {
      self = .list(delays)
    } else {
      let exponential = try container.decode(Exponential.self, forKey: .exponential)
      self = .exponential(first: exponential.first, factor: exponential.factor, most: exponential.most)
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    switch self {
    case .fixed(let delay): try container.encode(delay, forKey: .fixed)
    case .exponential(let first, let factor, let most):
      try container.encode(Exponential(first: first, factor: factor, most: most), forKey: .exponential)
    case .list(let delays): try container.encode(delays, forKey: .list)
    }
  }
}

extension GroupPolicy {
  /// What was written by an older version lacks what came later.
  public init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    self.init()
    retry = try container.decodeIfPresent(RetryPolicy.self, forKey: .retry) ?? retry
    afterLastRetry = try container.decodeIfPresent(AfterLastRetry.self, forKey: .afterLastRetry) ?? afterLastRetry
    timeout = try container.decodeIfPresent(Double.self, forKey: .timeout)
    delay = try container.decodeIfPresent(Double.self, forKey: .delay) ?? delay
    expiry = try container.decodeIfPresent(Double.self, forKey: .expiry)
    rate = try container.decodeIfPresent(Double.self, forKey: .rate)
    ratePerKey = try container.decodeIfPresent(Double.self, forKey: .ratePerKey)
    breaker = try container.decodeIfPresent(CircuitBreaker.self, forKey: .breaker)
    timers = try container.decodeIfPresent(TimerPolicy.self, forKey: .timers)
    conflates = try container.decodeIfPresent(Bool.self, forKey: .conflates) ?? conflates
    priorities = try container.decodeIfPresent([PriorityRule].self, forKey: .priorities) ?? priorities
    ageing = try container.decodeIfPresent(Double.self, forKey: .ageing) ?? ageing
  }
}
