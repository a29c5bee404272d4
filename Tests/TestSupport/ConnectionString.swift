/// Changes to libpq connection strings of the form `key=value …`: of a keyword that stands twice, the last counts.
public enum ConnectionString {
  public static func withDatabase(_ name: String, in string: String) -> String { "\(string) dbname=\(name)" }

  /// Every session takes on `role` when it starts.
  public static func withRole(_ role: String, in string: String) -> String {
    "\(string) options='-c role=\(role)'"
  }
}
