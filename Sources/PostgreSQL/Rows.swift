internal import CPostgreSQL
public import FoundationEssentials

/// The rows of a result, in binary format, in libpq's own memory until the last reference goes.
///
/// Rows and columns count from 0. The accessors trap on one that does not exist, as an array does. They trust the
/// statement for the column's type: asking for another one is a programmer error that ``Row/decode(_:)`` reports and
/// they do not.
public final class Rows: @unchecked Sendable {
  // Safe to share: libpq documents that a PGresult may be read from any thread once it has been returned, and nothing
  // here changes it (libpq, "Behavior in Threaded Programs").
  private let result: OpaquePointer

  public let count: Int
  /// 0 for a command that gives no rows.
  public let columnCount: Int

  init(_ result: OpaquePointer) {
    self.result = result
    count = Int(PQntuples(result))
    columnCount = Int(PQnfields(result))
  }

  deinit { PQclear(result) }

  /// The memory that they take.
  public var byteCount: Int { PQresultMemorySize(result) }

  /// How many rows a command changed, as in `INSERT 0 5`.
  public var affected: Int { PQcmdTuples(result).flatMap { Int(String(cString: $0)) } ?? 0 }

  /// The command's tag, such as `COMMIT`.
  public var tag: String { PQcmdStatus(result).map { String(cString: $0) } ?? "" }

  public func isNull(_ row: Int, _ column: Int) -> Bool {
    check(row, column)
    return PQgetisnull(result, Int32(row), Int32(column)) == 1
  }

  /// See ``TypeOID``.
  public func typeOID(_ column: Int) -> UInt32 {
    precondition(column >= 0 && column < columnCount, "column \(column) of \(columnCount)")
    return PQftype(result, Int32(column))
  }

  func isBinary(_ column: Int) -> Bool {
    precondition(column >= 0 && column < columnCount, "column \(column) of \(columnCount)")
    return PQfformat(result, Int32(column)) == 1
  }

  private func check(_ row: Int, _ column: Int) {
    precondition(
      row >= 0 && row < count && column >= 0 && column < columnCount,
      "row \(row) of \(count), column \(column) of \(columnCount)")
  }

  /// The raw bytes of a value: valid only while this object lives. Empty for null.
  package func bytes(_ row: Int, _ column: Int) -> UnsafeRawBufferPointer {
    check(row, column)
    return UnsafeRawBufferPointer(
      start: PQgetvalue(result, Int32(row), Int32(column)), count: Int(PQgetlength(result, Int32(row), Int32(column))))
  }

  private func load<T: FixedWidthInteger>(_ row: Int, _ column: Int, as type: T.Type) -> T {
    let bytes = bytes(row, column)
    precondition(
      bytes.count == MemoryLayout<T>.size, "column \(column) has \(bytes.count) bytes, not \(MemoryLayout<T>.size)")
    return T(bigEndian: bytes.loadUnaligned(as: T.self))
  }

  /// Of a `boolean`. Traps on null.
  public func bool(_ row: Int, _ column: Int) -> Bool { load(row, column, as: UInt8.self) != 0 }
  /// Of a `smallint`. Traps on null.
  public func int16(_ row: Int, _ column: Int) -> Int16 { load(row, column, as: Int16.self) }
  /// Of an `integer`. Traps on null.
  public func int32(_ row: Int, _ column: Int) -> Int32 { load(row, column, as: Int32.self) }
  /// Of a `bigint`. Traps on null.
  public func int64(_ row: Int, _ column: Int) -> Int64 { load(row, column, as: Int64.self) }
  /// Of a `double precision`. Traps on null.
  public func double(_ row: Int, _ column: Int) -> Double { Double(bitPattern: load(row, column, as: UInt64.self)) }
  /// Of a `text`, and of what is sent alike. Empty for null.
  public func text(_ row: Int, _ column: Int) -> String { String(decoding: bytes(row, column), as: UTF8.self) }
  /// As the server has sent them: of a `bytea` its bytes. Empty for null.
  public func byteArray(_ row: Int, _ column: Int) -> [UInt8] { Array(bytes(row, column)) }
  /// Of a `timestamptz`. An infinity is a date some 292,000 years away. Traps on null.
  public func date(_ row: Int, _ column: Int) -> Date { Date(microsecondsSince2000: int64(row, column)) }
  /// Traps on null.
  public func uuid(_ row: Int, _ column: Int) -> UUID {
    let bytes = bytes(row, column)
    precondition(bytes.count == 16, "column \(column) has \(bytes.count) bytes, not 16")
    return UUID(uuid: bytes.loadUnaligned(as: uuid_t.self))
  }

  /// A one-dimensional array of `bigint` without nulls. Null and empty arrays are empty.
  package func int64Array(_ row: Int, _ column: Int) -> [Int64] { integers(row, column) }

  /// A one-dimensional array of `smallint` without nulls. Null and empty arrays are empty.
  package func int16Array(_ row: Int, _ column: Int) -> [Int16] { integers(row, column) }

  /// A one-dimensional array of `text` without nulls. Null and empty arrays are empty.
  package func textArray(_ row: Int, _ column: Int) -> [String] {
    let bytes = bytes(row, column)
    guard bytes.count > 20 else { return [] }
    let count = Int(Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: 12, as: Int32.self)))
    var offset = 20
    return (0..<count).map { _ in
      let length = Int(Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
      precondition(length >= 0 && offset + 4 + length <= bytes.count, "column \(column) is not an array of text")
      defer { offset += 4 + length }
      return String(decoding: bytes[offset + 4..<offset + 4 + length], as: UTF8.self)
    }
  }

  // Private, so that it is compiled for both types: generic code across modules is not specialised.
  private func integers<T: FixedWidthInteger>(_ row: Int, _ column: Int) -> [T] {
    // Header: dimensions, has-null flag, element type; per dimension: length, lower bound; then length and value each.
    let bytes = bytes(row, column)
    guard bytes.count > 20 else { return [] }
    let count = Int(Int32(bigEndian: bytes.loadUnaligned(fromByteOffset: 12, as: Int32.self)))
    let stride = 4 + MemoryLayout<T>.size
    precondition(bytes.count == 20 + count * stride, "column \(column) is not an array of \(T.self) without nulls")
    return [T](unsafeUninitializedCapacity: count) { target, initialized in
      for index in 0..<count {
        target.initializeElement(
          at: index, to: T(bigEndian: bytes.loadUnaligned(fromByteOffset: 24 + index * stride, as: T.self)))
      }
      initialized = count
    }
  }
}

extension Rows: RandomAccessCollection {
  public var startIndex: Int { 0 }
  public var endIndex: Int { count }
  public subscript(index: Int) -> Row {
    precondition(index >= 0 && index < count, "row \(index) of \(count)")
    return Row(rows: self, index: index)
  }
}

/// One row of a result.
public struct Row: Sendable {
  let rows: Rows
  let index: Int

  /// The columns, from the first, as Swift values: `let (name, age) = try row.decode((String, Int?).self)`.
  ///
  /// - Throws: ``PostgreSQLError`` with `unexpectedResult` when a column is missing, null, or of another type.
  public func decode<each T: PostgreSQLDecodable>(
    _ types: (repeat each T).Type
  ) throws(PostgreSQLError) -> (repeat each T) {
    var column = 0
    func next<V: PostgreSQLDecodable>(_ type: V.Type) throws(PostgreSQLError) -> V {
      defer { column += 1 }
      guard column < rows.columnCount else {
        throw PostgreSQLError(.unexpectedResult, "asked for column \(column + 1) of \(rows.columnCount)")
      }
      return try V.decode(rows, index, column)
    }
    return (repeat try next((each T).self))
  }
}

/// A Swift value that can be read from a column in binary format.
///
/// `Int` reads `bigint`, `integer` and `smallint`; `String` reads `text`, `varchar`, `char`, `name` and `json`, not
/// `jsonb`; `Date` reads `timestamptz`. An optional reads null, too.
public protocol PostgreSQLDecodable {
  /// The OIDs of the types that it reads.
  static var typeOIDs: [UInt32] { get }
  /// Reads a value that is not null, from a column of one of ``typeOIDs``. It may trap on any other.
  static func read(_ rows: Rows, _ row: Int, _ column: Int) -> Self
  /// Reads a value, and looks first whether it can be read.
  ///
  /// - Throws: ``PostgreSQLError`` with `unexpectedResult` when the column is of another type, or the value is null and
  ///   this is no optional.
  static func decode(_ rows: Rows, _ row: Int, _ column: Int) throws(PostgreSQLError) -> Self
}

extension PostgreSQLDecodable {
  public static func decode(_ rows: Rows, _ row: Int, _ column: Int) throws(PostgreSQLError) -> Self {
    // A script's result comes as text, whatever its type.
    guard rows.isBinary(column) || Self.self is String.Type else {
      throw PostgreSQLError(
        .unexpectedResult, "column \(column + 1) came as text, as those of a script do: decode it as a String")
    }
    guard typeOIDs.contains(rows.typeOID(column)) else {
      throw PostgreSQLError(
        .unexpectedResult, "column \(column + 1) has type OID \(rows.typeOID(column)), which is no \(Self.self)")
    }
    guard !rows.isNull(row, column) else {
      throw PostgreSQLError(.unexpectedResult, "column \(column + 1) is null: decode it as an optional")
    }
    return read(rows, row, column)
  }
}

extension Optional: PostgreSQLDecodable where Wrapped: PostgreSQLDecodable {
  public static var typeOIDs: [UInt32] { Wrapped.typeOIDs }
  public static func read(_ rows: Rows, _ row: Int, _ column: Int) -> Self { Wrapped.read(rows, row, column) }
  public static func decode(_ rows: Rows, _ row: Int, _ column: Int) throws(PostgreSQLError) -> Self {
    rows.isNull(row, column) ? nil : try Wrapped.decode(rows, row, column)
  }
}

extension Bool: PostgreSQLDecodable {
  public static var typeOIDs: [UInt32] { [TypeOID.bool] }
  public static func read(_ rows: Rows, _ row: Int, _ column: Int) -> Bool { rows.bool(row, column) }
}

extension Int: PostgreSQLDecodable {
  public static var typeOIDs: [UInt32] { [TypeOID.int8, TypeOID.int4, TypeOID.int2] }
  public static func read(_ rows: Rows, _ row: Int, _ column: Int) -> Int {
    switch rows.typeOID(column) {
    case TypeOID.int2: Int(rows.int16(row, column))
    case TypeOID.int4: Int(rows.int32(row, column))
    default: Int(rows.int64(row, column))
    }
  }
}

extension Double: PostgreSQLDecodable {
  public static var typeOIDs: [UInt32] { [TypeOID.float8] }
  public static func read(_ rows: Rows, _ row: Int, _ column: Int) -> Double { rows.double(row, column) }
}

extension String: PostgreSQLDecodable {
  // text, and what is sent alike: name, varchar, bpchar, "char", json.
  public static var typeOIDs: [UInt32] { [TypeOID.text, 19, 1043, 1042, 18, 114] }
  public static func read(_ rows: Rows, _ row: Int, _ column: Int) -> String { rows.text(row, column) }
}

extension UUID: PostgreSQLDecodable {
  public static var typeOIDs: [UInt32] { [TypeOID.uuid] }
  public static func read(_ rows: Rows, _ row: Int, _ column: Int) -> UUID { rows.uuid(row, column) }
}

extension Date: PostgreSQLDecodable {
  public static var typeOIDs: [UInt32] { [TypeOID.timestamptz] }
  public static func read(_ rows: Rows, _ row: Int, _ column: Int) -> Date { rows.date(row, column) }
}

extension Bytea: PostgreSQLDecodable {
  public static var typeOIDs: [UInt32] { [TypeOID.bytea] }
  public static func read(_ rows: Rows, _ row: Int, _ column: Int) -> Bytea { Bytea(rows.byteArray(row, column)) }
}
