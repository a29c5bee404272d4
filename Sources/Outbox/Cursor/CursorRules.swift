internal import EventStore

/// What a group's policy asks of a cursor.
struct CursorRules {
  /// Between two starts of a key, at least, in nanoseconds.
  var keyInterval: CursorState.Instant = 0
  /// When an event may start; `nil`: at once.
  var timer: ((RecordedEvent) -> CursorState.Instant?)?
  /// Whether later events of its key pass an event that waits for its time.
  var timersPass = false
  /// Only the latest event of a key is of interest.
  var conflates = false
  /// How many lanes there are; 0 is the most urgent. A key's lane is part of its name: see ``name(_:lane:)``.
  var lanes = 1
  /// Who has waited so long in a lane comes before the more urgent ones, in nanoseconds.
  var patience: CursorState.Instant = 2_000_000_000

  /// Between a key and its lane. No key has it: see ``PartitionKey/key(of:)``.
  static let laneSeparator: UInt8 = 0x1F

  /// The events of a key in one lane: a key of their own.
  static func name(_ key: String, lane: Int) -> String { lane == 0 ? key : "\(key)\u{1F}\(lane)" }

  static func lane(of name: String) -> Int {
    guard let separator = name.utf8.lastIndex(of: laneSeparator) else { return 0 }
    return max(0, Int(name[name.utf8.index(after: separator)...]) ?? 0)
  }

  /// The key without its lane.
  static func key(of name: String) -> String {
    guard let separator = name.utf8.lastIndex(of: laneSeparator) else { return name }
    return String(name[..<separator])
  }
}
