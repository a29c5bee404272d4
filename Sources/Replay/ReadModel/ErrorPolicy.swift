/// What a projection does with an event that it cannot apply.
///
/// It is about the event: a server that is away, or a full disk, is waited for whatever the policy. Nor does it hold in
/// the transactions of the appends: what an inline projection cannot apply there fails the append.
public struct ErrorPolicy: Sendable, Hashable {
  /// What becomes of the event at last.
  public enum End: String, Sendable, Hashable {
    /// The projection stops before the event; a person mends the cause and resumes it.
    case stop
    /// The event is written down as skipped, and can be applied later.
    case skip
  }

  /// How often it is tried again first, each time after twice as long, from 100 ms up to 10 s.
  public let retries: Int
  /// What becomes of it when those have not helped.
  public let end: End

  /// - Parameter retries: Less than 0 counts as 0.
  public init(retries: Int = 0, end: End) {
    self.retries = max(0, retries)
    self.end = end
  }

  /// The default.
  public static let stop = ErrorPolicy(end: .stop)
  /// At once, without a retry. Only for what may be the event's own fault: a missing table, privilege or key stops the
  /// projection all the same.
  public static let skip = ErrorPolicy(end: .skip)
  /// Tries it again so often first, after growing pauses: see ``retries``. Less than 0 counts as 0.
  public static func retry(_ retries: Int, then end: End) -> ErrorPolicy { ErrorPolicy(retries: retries, end: end) }
}
