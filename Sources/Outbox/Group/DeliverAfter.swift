internal import FoundationEssentials

/// The time that an event's metadata may say: `"deliverAfter": "2026-12-24T18:00:00Z"`.
enum DeliverAfter {
  /// RFC 3339, with or without a fraction; `nil`: it is no such time, and the event is delivered at once.
  static func date(_ text: String) -> Date? {
    (try? Date(text, strategy: .iso8601))
      ?? (try? Date(text, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
  }
}
