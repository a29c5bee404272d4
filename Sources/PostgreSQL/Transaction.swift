/// An open transaction. It cannot be copied, stored or used after the closure that was given it: the compiler
/// refuses.
///
/// In a closure that is passed on, write its type out: `{ (transaction: borrowing Transaction) in … }`.
public struct Transaction: ~Copyable {
  /// For modules of this package that send their own statements.
  package let connection: Connection

  package init(_ connection: Connection) { self.connection = connection }

  /// Sends a statement of the transaction and waits for its rows.
  ///
  /// - Parameter timeout: When it is over the statement is cancelled on the server. Default: the configuration's.
  /// - Throws: ``PostgreSQLError``. What the server refuses fails the transaction: unless it is rolled back to a
  ///   savepoint, the statements that follow fail with SQLSTATE 25P02, and so does the commit.
  @discardableResult
  public func execute(
    _ statement: Statement, _ parameters: Parameters = Parameters(), timeout: Duration? = nil
  ) async throws(PostgreSQLError) -> Rows {
    try await connection.execute(statement, parameters, timeout: timeout)
  }
}

/// What a transaction sees of others.
public enum IsolationLevel: String, Sendable {
  /// Each statement sees what was committed when it began.
  case readCommitted = "READ COMMITTED"
  /// All statements see what was committed when the first of them began. One that would change a row which another has
  /// changed since then fails with SQLSTATE 40001: the transaction can be tried again from its beginning.
  case repeatableRead = "REPEATABLE READ"
  /// As if transactions of this level ran one after the other. Where they cannot, one fails with SQLSTATE 40001: it can
  /// be tried again from its beginning.
  case serializable = "SERIALIZABLE"

  package var begin: Statement {
    switch self {
    case .readCommitted: Begin.readCommitted
    case .repeatableRead: Begin.repeatableRead
    case .serializable: Begin.serializable
    }
  }

  private enum Begin {
    static let readCommitted = Statement("BEGIN ISOLATION LEVEL READ COMMITTED")
    static let repeatableRead = Statement("BEGIN ISOLATION LEVEL REPEATABLE READ")
    static let serializable = Statement("BEGIN ISOLATION LEVEL SERIALIZABLE")
  }
}

extension Connection {
  package static let commit = Statement("COMMIT")
  package static let rollback = Statement("ROLLBACK")

  /// Runs `body` in a transaction on this connection: committed when it returns, rolled back when it throws.
  package func inTransaction<R>(
    isolation: IsolationLevel = .readCommitted, _ body: (borrowing Transaction) async throws -> R
  ) async throws -> R {
    try await execute(isolation.begin)
    let result: R
    do {
      result = try await body(Transaction(self))
    } catch {
      await rollback()
      throw error
    }
    try await commit()
    return result
  }

  /// Not cancelled with the task, or the connection would have to be thrown away.
  package func rollback() async { _ = await send(Self.rollback).outcome() }

  /// - Throws: 25P02 when the transaction had failed, and was rolled back; `connectionLost` and `unconfirmed` leave the
  ///   outcome unknown.
  package func commit() async throws(PostgreSQLError) {
    let committed = try await send(Self.commit).outcome().get()
    guard committed.tag == "COMMIT" else {
      throw PostgreSQLError(
        .server, "the transaction was rolled back because one of its statements had failed", sqlState: "25P02")
    }
  }
}

extension ConnectionPool {

  /// Runs `body` in a transaction of its own: committed when it returns, rolled back when it throws.
  ///
  /// - Throws: What `body` throws; or ``PostgreSQLError``. `connectionLost` and `unconfirmed`, from COMMIT, leave the outcome
  ///   unknown.
  public func withTransaction<R>(
    isolation: IsolationLevel = .readCommitted, _ body: (borrowing Transaction) async throws -> R
  ) async throws -> R {
    let lease = try await lease()
    defer { extendLifetime(lease) }
    return try await lease.connection.inTransaction(isolation: isolation, body)
  }
}
