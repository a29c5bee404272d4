/// A place in the log. Positions rise in the order in which readers see events; they have gaps.
///
/// Opaque on purpose: compare positions, store them, pass them back to go on reading after them, but compute
/// nothing from them.
public struct Position: Hashable, Comparable, Sendable {
  package let rawValue: Int64

  package init(_ rawValue: Int64) { self.rawValue = rawValue }

  /// Before the first event: reading after it reads the whole log.
  public static let start = Position(0)

  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

extension Position: LosslessStringConvertible {
  public var description: String { String(rawValue) }

  /// What ``description`` gave, read back; `nil` for anything but a whole number from 0 on.
  public init?(_ description: String) {
    guard let value = Int64(description), value >= 0 else { return nil }
    rawValue = value
  }
}

extension Position: Codable {
  public init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    rawValue = try container.decode(Int64.self)
    guard rawValue >= 0 else {
      throw DecodingError.dataCorruptedError(in: container, debugDescription: "a position is not negative")
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(rawValue)
  }
}
