public import PostgreSQL

/// A log that can append inside a transaction of the caller's.
public protocol TransactionalEventLog: EventLog {
  /// The log itself, whose connections such transactions run on.
  var store: PostgreSQLEventLog { get }

  /// Appends inside the caller's own transaction; see ``PostgreSQLEventLog/append(_:in:)``.
  func append(_ appends: [StreamAppend], in transaction: borrowing Transaction) async throws -> [Appended]
}

extension PostgreSQLEventLog: TransactionalEventLog {
  public var store: PostgreSQLEventLog { self }
}
