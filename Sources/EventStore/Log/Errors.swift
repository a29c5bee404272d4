public import PostgreSQL

/// Why an append wrote nothing, or may have written.
public enum AppendError: Error, Sendable {
  /// The stream is not where the writer believed. Nothing was written: read again, decide again.
  case conflict(VersionConflict)
  /// An event of this stream has this id already, with other content, or one that cannot be opened to compare it. Nothing
  /// was written.
  case duplicateEventID(id: String, stream: StreamName)
  /// The request itself is wrong: an empty list, a stream named twice, an invalid name, a payload over the limit.
  case invalid(String)
  /// The payload could not be sealed: no master key, the wrong one. Nothing was written.
  case encryption(EncryptionError)
  /// No connection in time, or the server refused: nothing was written.
  case unavailable(PostgreSQLError)
  /// The connection died after the append was sent, and it stayed unknown for the time allowed; or
  /// (``/PostgreSQL/PostgreSQLError/Code/unconfirmed``) it is written, and no synchronous standby is known to have it.
  /// Retry with the *same event ids*: if it had been written, the retry returns the first result, without waiting for
  /// standbys.
  case outcomeUnknown(PostgreSQLError)
  /// The server reported an error (full disk, privileges, time-out …): rolled back, nothing was written.
  case database(PostgreSQLError)
  /// An inline projection could not be applied: rolled back, nothing was written.
  case projection(name: String, problem: String)
  /// The task was cancelled before the append was sent, or while it waited for somebody's transaction: nothing was written.
  case cancelled
}

/// What the writer believed about a stream, and what was so.
public struct VersionConflict: Sendable, Hashable, CustomStringConvertible {
  /// Of several in one append, one where it did not hold.
  public let stream: StreamName
  /// As the writer gave it.
  public let expected: ExpectedVersion
  /// The stream's last version when the append was checked; 0 if it has no events.
  public let actual: Int

  /// - Parameter actual: The stream's last version; 0: it has no events.
  public init(stream: StreamName, expected: ExpectedVersion, actual: Int) {
    self.stream = stream
    self.expected = expected
    self.actual = actual
  }

  public var description: String {
    "stream \(stream): expected \(expected), found \(actual == 0 ? "no stream" : "version \(actual)")"
  }
}

extension AppendError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .conflict(let conflict):
      "version conflict in \(conflict); nothing was written: read the stream again and decide again"
    case .duplicateEventID(let id, let stream):
      "event id \(id) is already in stream \(stream) with other content, or content that cannot be opened; nothing was "
        + "written: give a new event a new id"
    case .invalid(let problem): "\(problem); nothing was written"
    case .encryption(let error): "\(error); nothing was written"
    case .unavailable(let error): "the database is unavailable: \(error); nothing was written"
    case .outcomeUnknown(let error) where error.code == .unconfirmed: "the append is not safe yet: \(error)"
    case .outcomeUnknown(let error):
      "the connection was lost after the append was sent, so its outcome is unknown: \(error); retry with the same "
        + "event ids"
    case .database(let error) where error.sqlState == "ESP03":
      "\(error): append through `InlineLog`, or pause the projection meanwhile (`esctl projections pause`); nothing was "
        + "written"
    case .database(let error) where error.sqlState == "2200H":
      "the store has all the 32,767 categories that it can have: name streams category-id, so that many share one; nothing "
        + "was written"
    case .database(let error): "the database refused the append: \(error); nothing was written"
    case .projection(let name, let problem): "inline projection \(name): \(problem); nothing was written"
    case .cancelled: "the append was cancelled; nothing was written"
    }
  }
}

/// Why reading stopped. A payload that cannot be opened does not stop it: see ``RecordedEvent/payload``.
public enum ReadError: Error, Sendable {
  /// No connection in time, or it was lost. A subscription has tried again as often as it may.
  case unavailable(PostgreSQLError)
  /// The server refused: privileges, a time-out, a standby.
  case database(PostgreSQLError)
  /// The master key in hand is not the store's.
  case encryption(EncryptionError)
  /// The reader's task was cancelled.
  case cancelled
}

extension ReadError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .unavailable(let error): "the database is unavailable: \(error)"
    case .database(let error): "the database refused to read: \(error)"
    case .encryption(let error): error.description
    case .cancelled: "reading was cancelled"
    }
  }
}
