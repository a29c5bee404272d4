internal import CPostgreSQL

/// What went wrong between this process and PostgreSQL.
///
/// Carries the server's SQLSTATE and primary message, never a bound value: DETAIL, HINT and CONTEXT, which may quote
/// row contents, are not kept, and neither is the message of a data exception (class 22).
///
/// (Not kept behind one reference, which would be smaller: Swift 6.3's optimiser crashes on some async functions that call
/// one with a typed error of up to four words.)
public struct PostgreSQLError: Error, Sendable, Hashable {
  /// What kind of failure it is.
  public enum Code: Sendable, Hashable {
    /// No connection could be made.
    case connectFailed
    /// The connection broke before the statement's result arrived; whether the statement took effect is unknown.
    case connectionLost
    /// The statement is committed on the server, and no synchronous standby is known to have it: the wait for one was
    /// cancelled, by a time-out of ours or by an operator. Whether it lasts is unknown.
    case unconfirmed
    /// No connection of the pool became free in time.
    case poolTimeout
    /// The statement ran past its time-out and was cancelled on the server.
    case timeout
    /// The task was cancelled; the statement was cancelled on the server, or never sent.
    case cancelled
    /// The server reported an error; see ``PostgreSQLError/sqlState``.
    case server
    /// The pool or the connection was closed by its owner.
    case closed
    /// The result has not the form that the caller asked for: a programmer error.
    case unexpectedResult
  }

  public let code: Code
  /// Five characters, such as `23505`; `nil` unless the server reported the error.
  public let sqlState: String?
  /// The server's primary message, libpq's, or this package's own. Of a data exception it is a fixed text.
  public let message: String
  /// The constraint that was violated, if one was.
  public let constraint: String?
  /// The character of the statement, from 1, that the server points to.
  public let position: Int?

  /// `sqlState`, `constraint` and `position` are for what a server has reported.
  public init(
    _ code: Code, _ message: String, sqlState: String? = nil, constraint: String? = nil, position: Int? = nil
  ) {
    self.code = code
    self.message = message
    self.sqlState = sqlState
    self.constraint = constraint
    self.position = position
  }

  /// The server cannot be reached or is going away; the same statement may succeed later.
  public var isUnavailable: Bool {
    switch code {
    case .connectFailed, .connectionLost, .poolTimeout: return true
    case .server:
      // 08: connection exceptions; 57P0x: the server is shutting down or starting; 53300: too many connections.
      guard let sqlState else { return false }
      return sqlState.hasPrefix("08") || sqlState.hasPrefix("57P0") || sqlState == "53300"
    case .unconfirmed, .timeout, .cancelled, .closed, .unexpectedResult: return false
    }
  }

  /// Whether the statement, once sent, may have taken effect, and for good, or not.
  package var isOutcomeUnknown: Bool { code == .connectionLost || code == .unconfirmed }
}

extension PostgreSQLError: CustomStringConvertible {
  public var description: String { sqlState.map { "\(message) (SQLSTATE \($0))" } ?? message }
}

extension PostgreSQLError {
  /// The error that a failed result reports.
  init(result: OpaquePointer) {
    let state = Self.field(result, "C")
    let primary = Self.field(result, "M") ?? "the server gave no message"
    let isData = state?.hasPrefix("22") ?? false
    self.init(
      state == "57014" ? .timeout : .server,
      isData ? "data exception (its message is withheld: it may quote a value)" : primary,
      sqlState: state, constraint: Self.field(result, "n"), position: Self.field(result, "P").flatMap { Int($0) })
  }

  private static func field(_ result: OpaquePointer, _ code: Character) -> String? {
    guard let ascii = code.asciiValue, let text = PQresultErrorField(result, Int32(ascii)) else { return nil }
    return String(cString: text)
  }

  /// libpq's message on the connection, in one line.
  static func connectionMessage(_ connection: OpaquePointer?) -> String {
    guard let connection, let text = PQerrorMessage(connection) else { return "no connection" }
    let message = String(cString: text).split(whereSeparator: \.isWhitespace).joined(separator: " ")
    return message.isEmpty ? "the server closed the connection" : message
  }
}

extension PostgreSQLError {
  /// Whether the server's message cannot hold anything of a row: cardinality and constraints, and names that are not there
  /// or not allowed. Other messages may quote what a statement was given.
  package var quotesNoValue: Bool {
    guard let sqlState else { return true }
    // With a position it is the parser's: it stands in the SQL. Else it may be a value that was cast to a regclass.
    if ["42P01", "42704"].contains(sqlState) { return position != nil }
    return ["21", "23"].contains(sqlState.prefix(2)) || ["42703", "42501"].contains(sqlState)
  }
}
