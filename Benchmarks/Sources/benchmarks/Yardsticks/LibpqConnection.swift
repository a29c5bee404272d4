import CLibpq
import Glibc

/// A connection in plain, blocking libpq: what a careful C program would do, and no more.
///
/// Safe to send: only one thread at a time uses it, the one of the current round, and rounds follow each other.
final class LibpqConnection: @unchecked Sendable {
  private let connection: OpaquePointer

  init(_ url: String) throws {
    guard let connection = PQconnectdb(url) else { throw Problem("libpq: out of memory") }
    self.connection = connection
    guard PQstatus(connection) == CONNECTION_OK else { throw problem("connecting") }
    try script("SET client_min_messages = warning; SET jit = off")
  }

  deinit { PQfinish(connection) }

  /// Runs statements without parameters.
  func script(_ sql: String) throws {
    let result = PQexec(connection, sql)
    defer { PQclear(result) }
    guard PQresultStatus(result) == PGRES_COMMAND_OK || PQresultStatus(result) == PGRES_TUPLES_OK else {
      throw problem("a script")
    }
  }

  func prepare(_ name: String, _ sql: String) throws {
    let result = PQprepare(connection, name, sql, 0, nil)
    defer { PQclear(result) }
    guard PQresultStatus(result) == PGRES_COMMAND_OK else { throw problem("preparing") }
  }

  /// Executes a prepared statement; its result comes in binary.
  ///
  /// - Returns: How many rows it returned, or wrote.
  func execute(_ name: String, _ parameters: BinaryParameters) throws -> Int {
    let result = PQexecPrepared(
      connection, name, Int32(parameters.count), parameters.values, parameters.lengths, parameters.formats, 1)
    defer { PQclear(result) }
    switch PQresultStatus(result) {
    case PGRES_TUPLES_OK: return Int(PQntuples(result))
    case PGRES_COMMAND_OK: return atol(PQcmdTuples(result))
    default: throw problem("a prepared statement")
    }
  }

  /// The same, with the first column, a `bigint`, of the last row; 0: there was none.
  func executeToLast(_ name: String, _ parameters: BinaryParameters) throws -> (rows: Int, last: Int64) {
    let result = PQexecPrepared(
      connection, name, Int32(parameters.count), parameters.values, parameters.lengths, parameters.formats, 1)
    defer { PQclear(result) }
    guard PQresultStatus(result) == PGRES_TUPLES_OK else { throw problem("a prepared statement") }
    let rows = PQntuples(result)
    guard rows > 0, let value = PQgetvalue(result, rows - 1, 0) else { return (0, 0) }
    return (Int(rows), Int64(bigEndian: UnsafeRawPointer(value).loadUnaligned(as: Int64.self)))
  }

  /// Reads all rows of a COPY … TO STDOUT and drops them.
  ///
  /// - Returns: How many messages came: in binary one a row, one more for the trailer; the header is in the first.
  func copyOut(_ sql: String) throws -> Int {
    let result = PQexec(connection, sql)
    defer { PQclear(result) }
    guard PQresultStatus(result) == PGRES_COPY_OUT else { throw problem("COPY") }
    var messages = 0
    while true {
      var buffer: UnsafeMutablePointer<CChar>?
      let size = PQgetCopyData(connection, &buffer, 0)
      guard size > 0 else { break }
      PQfreemem(buffer)
      messages += 1
    }
    try finish("COPY")
    return messages
  }

  /// Sends a whole binary COPY … FROM STDIN.
  func copyIn(_ sql: String, _ bytes: [UInt8]) throws {
    let result = PQexec(connection, sql)
    defer { PQclear(result) }
    guard PQresultStatus(result) == PGRES_COPY_IN else { throw problem("COPY") }
    let chunk = 256 * 1024
    try bytes.withUnsafeBytes { bytes in
      var sent = 0
      while sent < bytes.count {
        let size = min(chunk, bytes.count - sent)
        let part = UnsafeRawBufferPointer(rebasing: bytes[sent..<(sent + size)])
        guard PQputCopyData(connection, part.assumingMemoryBound(to: CChar.self).baseAddress, Int32(size)) == 1
        else {
          throw problem("COPY")
        }
        sent += size
      }
    }
    guard PQputCopyEnd(connection, nil) == 1 else { throw problem("COPY") }
    try finish("COPY")
  }

  private func finish(_ what: String) throws {
    while let result = PQgetResult(connection) {
      defer { PQclear(result) }
      guard PQresultStatus(result) == PGRES_COMMAND_OK else { throw problem(what) }
    }
  }

  private func problem(_ what: String) -> Problem {
    Problem("libpq, \(what): \(String(cString: PQerrorMessage(connection)))")
  }
}
