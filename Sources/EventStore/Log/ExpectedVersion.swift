/// What the writer believes about the stream it appends to. The store checks it before it writes.
public enum ExpectedVersion: Hashable, Sendable {
  /// The stream's last version is exactly this. `exact(0)` is the same as ``noStream``.
  case exact(Int)
  /// The stream has no events yet.
  case noStream
  /// The stream has at least one event.
  case streamExists
  /// No check: concurrent writers interleave, each append stays together.
  case any
}

extension ExpectedVersion: CustomStringConvertible {
  public var description: String {
    switch self {
    case .exact(let version): "version \(version)"
    case .noStream: "no stream"
    case .streamExists: "an existing stream"
    case .any: "any version"
    }
  }
}
