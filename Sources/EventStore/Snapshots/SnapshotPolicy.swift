/// When a snapshot of an aggregate is made.
public struct SnapshotPolicy<State: Sendable>: Sendable {
  /// What has come since the last snapshot, or since the beginning.
  public struct Growth: Sendable {
    /// How many events: all that came after the last snapshot, or all that there are.
    public let events: Int
    /// Since the last snapshot was made; `nil` when there is none.
    public let age: Duration?
    /// At ``version``.
    public let state: State
    /// The last event in the state, from 1.
    public let version: Int

    package init(events: Int, age: Duration?, state: State, version: Int) {
      self.events = events
      self.age = age
      self.state = state
      self.version = version
    }
  }

  /// A stream that has grown by less is not looked at.
  package let smallestGrowth: Int
  package let isDue: @Sendable (Growth) -> Bool

  /// When the stream has grown by `events` since the last one.
  ///
  /// - Parameter events: At least 1.
  public static func every(_ events: Int) -> Self {
    precondition(events >= 1, "an interval is at least 1 event")
    return Self(smallestGrowth: events) { $0.events >= events }
  }

  /// When the stream has grown by `events`, or at all since a snapshot that is older than `age`.
  public static func every(_ events: Int, orAfter age: Duration) -> Self {
    precondition(events >= 1, "an interval is at least 1 event")
    return Self(smallestGrowth: 1) { growth in
      growth.events >= events || (growth.events > 0 && growth.age.map { $0 >= age } ?? false)
    }
  }

  /// By your own rule. It is asked at each load that has folded events, and by the background service for streams that
  /// have grown by at least `events`.
  public static func when(events: Int = 1, _ isDue: @escaping @Sendable (Growth) -> Bool) -> Self {
    Self(smallestGrowth: max(1, events), isDue: isDue)
  }

  /// Never: every load is a full replay.
  public static var never: Self { Self(smallestGrowth: .max) { _ in false } }
}
