/// An event as a Swift type: its stored name and schema version are declared, never derived from the Swift name, so
/// that renaming or moving the type changes nothing in the log.
///
/// ```swift
/// struct Deposited: Event {
///   static let eventType = "account.deposited"
///   var amount: Decimal
/// }
/// ```
///
/// What has no order of its own, a Set or a dictionary whose keys are neither strings nor integers, is encoded as an array,
/// by every process in another order: an append that is tried again there, with the same id, would have other content. Encode
/// it sorted.
public protocol Event: Codable, Sendable {
  /// The type that is stored: 1 to 256 bytes, by convention dotted. Never changes.
  static var eventType: String { get }
  /// The version of the payload's shape, from 1; default 1. Raise it when the shape changes, and register an upcaster.
  static var schemaVersion: Int { get }
}

extension Event {
  public static var schemaVersion: Int { 1 }
}
