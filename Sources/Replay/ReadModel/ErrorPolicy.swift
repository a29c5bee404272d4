/// What a projection does with an event that it cannot apply.
///
/// It is about the event: a server that is away, or a full disk, is waited for whatever the policy.
public struct ErrorPolicy: Sendable, Hashable {
  public enum End: String, Sendable, Hashable {
    /// The projection stops before the event; a person mends the cause and resumes it.
    case stop
    /// The event is written down as skipped, and can be applied later.
    case skip
  }

  /// How often it is tried again first, each time after twice as long, from 100 ms up to 10 s.
  public let retries: Int
  public let end: End

  public init(retries: Int = 0, end: End) {
    self.retries = max(0, retries)
    self.end = end
  }

  /// The default.
  public static let stop = ErrorPolicy(end: .stop)
  public static let skip = ErrorPolicy(end: .skip)
  public static func retry(_ retries: Int, then end: End) -> ErrorPolicy { ErrorPolicy(retries: retries, end: end) }
}
