internal import CPostgreSQL

/// Keeps what stands in a connection string, a password perhaps, out of error messages: libpq quotes what it does not
/// understand, and that is the rest of a password when one of its characters should have been escaped.
enum ConnectionString {
  /// What is wrong with the string's form; `nil` if libpq can read it.
  static func problem(_ string: String) -> PostgreSQLError? {
    // A single word would be taken for a database's name.
    var message: UnsafeMutablePointer<CChar>?
    let options = PQconninfoParse(string, &message)
    PQfreemem(message)
    PQconninfoFree(options)
    if options != nil || (!string.contains("=") && !string.contains("://")) { return nil }
    return PostgreSQLError(
      .connectFailed,
      "the connection string is neither key=value pairs nor a postgresql:// address: quote values with spaces, "
        + "percent-encode special characters in an address (it is not shown: it may hold a password)")
  }

  /// The message without quoted text that may be a part of a password.
  static func redacted(_ message: String) -> String {
    let parts = message.split(separator: "\"", omittingEmptySubsequences: false)
    return parts.indices.map { index in
      let isQuoted = index % 2 == 1
      return isQuoted && (message.hasPrefix("invalid ") || parts[index].contains("@")) ? "…" : parts[index]
    }.joined(separator: "\"")
  }
}
