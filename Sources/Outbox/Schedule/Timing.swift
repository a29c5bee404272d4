public import FoundationEssentials

/// When a scheduled event is appended.
public enum Timing: Sendable, Hashable {
  /// Once. A time that has passed: at once.
  case at(Date)
  /// Again and again.
  case cron(Recurrence)

  /// Again and again, by the server's clock and its time zones.
  public static func cron(
    _ expression: CronExpression, timeZone: String = "UTC", until end: Date? = nil, missed: Missed = .each
  ) -> Timing {
    .cron(Recurrence(expression, timeZone: timeZone, until: end, missed: missed))
  }

  /// What recurs: by which expression, in which time zone, and until when.
  public struct Recurrence: Sendable, Hashable {
    public var expression: CronExpression
    /// As the IANA names it, such as `Europe/Prague`. Where the clocks change, an hour of day that is skipped counts as much
    /// later, and one that comes twice counts once; but of an expression whose hour is `*` nothing is left out.
    public var timeZone: String
    /// No occurrence after this; one at this very time is the last. `nil`: there is no end.
    public var end: Date?
    /// Default: an event for each.
    public var missed: Missed

    /// The time zone is looked at by the server, when it is used: one that it does not know is
    /// ``OutboxError/invalid(_:)``.
    public init(_ expression: CronExpression, timeZone: String = "UTC", until end: Date? = nil, missed: Missed = .each)
    {
      self.expression = expression
      self.timeZone = timeZone
      self.end = end
      self.missed = missed
    }
  }

  /// What becomes of occurrences that came while no scheduler was running.
  public enum Missed: String, Sendable, Hashable {
    /// An event for each of them, in order.
    case each
    /// One event for all of them: for the first.
    case one
  }

  var recurrence: Recurrence? {
    if case .cron(let recurrence) = self { recurrence } else { nil }
  }
}
