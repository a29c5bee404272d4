/// An event as a Swift type: its stored name and schema version are declared, never derived from the Swift name, so
/// that renaming or moving the type changes nothing in the log.
///
/// ```swift
/// struct Deposited: Event {
///   static let eventType = "account.deposited"
///   var amount: Decimal
/// }
/// ```
public protocol Event: Codable, Sendable {
  /// The type that is stored: 1 to 256 bytes, by convention dotted. Never changes.
  static var eventType: String { get }
  /// The version of the payload's shape, from 1. Raise it when the shape changes, and register an upcaster.
  static var schemaVersion: Int { get }
}

extension Event {
  public static var schemaVersion: Int { 1 }
}
