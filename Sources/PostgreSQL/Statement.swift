internal import Synchronization

/// One SQL statement with `$1`, `$2` … for its parameters. Prepared once on each connection that runs it.
///
/// Make one for each text and keep it: it is known by its identity, not by its text. Call it with parameters of the
/// same types: it is prepared for those of its first call, and others are parsed and planned each time.
public final class Statement: Sendable {
  public let sql: String
  let id: Int
  let name: String

  private static let count = Atomic<Int>(0)

  /// Sends nothing.
  ///
  /// - Parameter sql: One statement: of several in one text the server runs none.
  public init(_ sql: String) {
    self.sql = sql
    id = Self.count.wrappingAdd(1, ordering: .relaxed).newValue
    name = "s\(id)"
  }

  /// A name as SQL has it, for the few places where a parameter cannot stand.
  package static func quoted(_ name: String) -> String { "\"\(name.replacing("\"", with: "\"\""))\"" }
}
