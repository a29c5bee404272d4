internal import EventStore
internal import PostgreSQL

/// What may be written down of an error of someone else's code: what its author says of it. A decoder's errors, the server's that
/// quote values, and those that say nothing, would tell values.
enum ErrorWords {
  static func of(_ error: any Error) -> String { sane(words(error)) }

  private static func words(_ error: any Error) -> String {
    switch error {
    case is DecodingError, is EncodingError: "\(type(of: error))"
    case AppendError.database(let error) where !error.quotesNoValue && error.sqlState != "ESP03":
      "the database refused it: \(words(error))"
    case let error as PostgreSQLError where !error.quotesNoValue: "SQLSTATE \(error.sqlState ?? "")"
    case let error as any CustomStringConvertible: error.description
    default: "\(type(of: error))"
    }
  }

  /// As PostgreSQL takes it, which has no U+0000; not too long.
  static func sane(_ text: String) -> String { String(text.prefix(2_000)).replacing("\0", with: "\u{FFFD}") }
}
