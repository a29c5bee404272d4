public import FoundationEssentials

/// The bound values of a statement, in PostgreSQL's binary format: the first is `$1`.
///
/// Up to 65535, of less than 1,000,000,000 bytes together: more fail with `unexpectedResult` when they are sent.
public struct Parameters: Sendable {
  private(set) var bytes: [UInt8] = []
  /// The end of each value in `bytes`; -1 for null. A value starts where the one before it ended.
  private(set) var ends: [Int] = []
  private(set) var types: [UInt32] = []
  private var end = 0

  /// None yet.
  ///
  /// - Parameter capacity: Room for so many bytes of all values together.
  public init(reservingBytes capacity: Int = 0) {
    bytes.reserveCapacity(capacity)
    // Few statements have more; growing from one on takes more time than all else here.
    ends.reserveCapacity(8)
    types.reserveCapacity(8)
  }

  /// `nil` is null, of a type that the server infers.
  public init(_ values: (any PostgreSQLEncodable)?...) {
    for value in values {
      if let value { append(value) } else { appendNull(0) }
    }
  }

  /// Adds the next one, with the type that it has.
  public mutating func append(_ value: some PostgreSQLEncodable) {
    value.encode(into: &bytes)
    end = bytes.count
    ends.append(end)
    types.append(value.typeOID)
  }

  /// A value of another type that has the same binary format.
  package mutating func append(_ value: Int64, as type: UInt32) {
    append(value)
    types[types.count - 1] = type
  }

  /// - Parameter isAbsent: Whether it is to be null instead.
  package mutating func append(_ array: BinaryArray, unless isAbsent: Bool) {
    isAbsent ? appendNull(array.typeOID) : append(array)
  }

  /// - Parameter type: The type's OID; 0 lets the server infer it.
  public mutating func appendNull(_ type: UInt32) {
    ends.append(-1)
    types.append(type)
  }

  /// Whether the protocol can carry them: it counts parameters in 16 bits, and the server takes messages of 1 GB.
  var isSendable: Bool { ends.count <= 65535 && bytes.count < 1_000_000_000 }

  /// Whether a statement that was prepared for these types can take them. A null fits every type.
  func fit(_ prepared: [UInt32]) -> Bool {
    types == prepared
      || (types.count == prepared.count && types.indices.allSatisfy { types[$0] == prepared[$0] || ends[$0] < 0 })
  }

  /// Calls `body` with the arrays that libpq wants.
  func withPointers<R>(
    _ body: (
      _ values: UnsafePointer<UnsafePointer<CChar>?>?, _ lengths: UnsafePointer<Int32>?,
      _ formats: UnsafePointer<Int32>?
    ) -> R
  ) -> R {
    let count = ends.count
    return bytes.withUnsafeBytes { raw in
      withUnsafeTemporaryAllocation(of: UnsafePointer<CChar>?.self, capacity: count) { values in
        withUnsafeTemporaryAllocation(of: Int32.self, capacity: 2 * count) { numbers in
          var start = 0
          // An empty value still needs an address: null means NULL to libpq.
          let base = raw.baseAddress ?? UnsafeRawPointer(Self.empty)
          for index in 0..<count {
            if ends[index] < 0 {
              values.initializeElement(at: index, to: nil)
              numbers.initializeElement(at: index, to: 0)
            } else {
              values.initializeElement(at: index, to: (base + start).assumingMemoryBound(to: CChar.self))
              numbers.initializeElement(at: index, to: Int32(ends[index] - start))
              start = ends[index]
            }
            numbers.initializeElement(at: count + index, to: 1)
          }
          return body(
            UnsafePointer(values.baseAddress), UnsafePointer(numbers.baseAddress),
            numbers.baseAddress.map { UnsafePointer($0 + count) })
        }
      }
    }
  }

  // Read-only for ever: its address stands for "a value of no bytes".
  nonisolated(unsafe) private static let empty: UnsafePointer<UInt8> = {
    let byte = UnsafeMutablePointer<UInt8>.allocate(capacity: 1)
    byte.initialize(to: 0)
    return UnsafePointer(byte)
  }()
}

/// A Swift value that can be bound to a parameter, in PostgreSQL's binary format.
///
/// `Int` is a `bigint`, `Double` a `double precision`, `String` a `text`, `Date` a `timestamptz` to the microsecond (an
/// infinity where it is too far away).
public protocol PostgreSQLEncodable: Sendable {
  /// The type's OID (pg_type.dat).
  var typeOID: UInt32 { get }
  /// Appends the value and nothing else: its length is not among it.
  func encode(into bytes: inout [UInt8])
}

extension Array where Element == UInt8 {
  @inlinable
  package mutating func appendBigEndian(_ value: some FixedWidthInteger) {
    Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
  }
}

extension Bool: PostgreSQLEncodable {
  public var typeOID: UInt32 { TypeOID.bool }
  public func encode(into bytes: inout [UInt8]) { bytes.append(self ? 1 : 0) }
}

extension Int16: PostgreSQLEncodable {
  public var typeOID: UInt32 { TypeOID.int2 }
  public func encode(into bytes: inout [UInt8]) { bytes.appendBigEndian(self) }
}

extension Int32: PostgreSQLEncodable {
  public var typeOID: UInt32 { TypeOID.int4 }
  public func encode(into bytes: inout [UInt8]) { bytes.appendBigEndian(self) }
}

extension Int64: PostgreSQLEncodable {
  public var typeOID: UInt32 { TypeOID.int8 }
  public func encode(into bytes: inout [UInt8]) { bytes.appendBigEndian(self) }
}

extension Int: PostgreSQLEncodable {
  public var typeOID: UInt32 { TypeOID.int8 }
  public func encode(into bytes: inout [UInt8]) { bytes.appendBigEndian(Int64(self)) }
}

extension Double: PostgreSQLEncodable {
  public var typeOID: UInt32 { TypeOID.float8 }
  public func encode(into bytes: inout [UInt8]) { bytes.appendBigEndian(bitPattern) }
}

extension String: PostgreSQLEncodable {
  public var typeOID: UInt32 { TypeOID.text }
  public func encode(into bytes: inout [UInt8]) { bytes.append(contentsOf: utf8) }
}

extension UUID: PostgreSQLEncodable {
  public var typeOID: UInt32 { TypeOID.uuid }
  public func encode(into bytes: inout [UInt8]) { withUnsafeBytes(of: uuid) { bytes.append(contentsOf: $0) } }
}

extension Date: PostgreSQLEncodable {
  public var typeOID: UInt32 { TypeOID.timestamptz }
  public func encode(into bytes: inout [UInt8]) { bytes.appendBigEndian(microsecondsSince2000) }

  /// PostgreSQL counts microseconds from 2000-01-01, Foundation seconds from 2001-01-01. What is too far away is an
  /// infinity.
  package var microsecondsSince2000: Int64 {
    let fromReference = Int64(exactly: (timeIntervalSinceReferenceDate * 1_000_000).rounded())
    let (shifted, overflow) = (fromReference ?? .max).addingReportingOverflow(31_622_400_000_000)
    guard fromReference == nil || overflow else { return shifted }
    return timeIntervalSinceReferenceDate < 0 ? .min : .max
  }

  package init(microsecondsSince2000 microseconds: Int64) {
    // -infinity is the smallest number; nothing may trap on a row.
    let (shifted, overflow) = microseconds.subtractingReportingOverflow(31_622_400_000_000)
    let seconds = Double(overflow ? microseconds : shifted) / 1_000_000
    self.init(timeIntervalSinceReferenceDate: seconds)
    // From 2^32 seconds on the nearest number may be one that counts as the next microsecond.
    guard abs(seconds) > 4e9, microsecondsSince2000 != microseconds else { return }
    for other in [seconds.nextDown, seconds.nextUp] {
      let date = Date(timeIntervalSinceReferenceDate: other)
      if date.microsecondsSince2000 == microseconds { self = date }
    }
  }

  /// To the microsecond, as PostgreSQL keeps it.
  package var asRecorded: Date { Date(microsecondsSince2000: microsecondsSince2000) }
}

/// Bytes as `bytea`. (An array of `UInt8` would read as an array of something.)
public struct Bytea: PostgreSQLEncodable, Hashable {
  public var bytes: [UInt8]
  public init(_ bytes: [UInt8]) { self.bytes = bytes }
  public var typeOID: UInt32 { TypeOID.bytea }
  public func encode(into bytes: inout [UInt8]) { bytes.append(contentsOf: self.bytes) }
}

/// OIDs of the built-in types in use (pg_type.dat); they never change.
public enum TypeOID {
  /// `boolean`: one byte.
  public static let bool: UInt32 = 16
  public static let bytea: UInt32 = 17
  /// `bigint`.
  public static let int8: UInt32 = 20
  /// `smallint`.
  public static let int2: UInt32 = 21
  /// `integer`.
  public static let int4: UInt32 = 23
  public static let text: UInt32 = 25
  /// `double precision`.
  public static let float8: UInt32 = 701
  /// `timestamp with time zone`: microseconds since the beginning of 2000, UTC.
  public static let timestamptz: UInt32 = 1184
  public static let uuid: UInt32 = 2950
  /// In binary format a byte 1 stands before the text.
  public static let jsonb: UInt32 = 3802

  /// The array type of an element type.
  static func array(of element: UInt32) -> UInt32 {
    switch element {
    case bool: 1000
    case bytea: 1001
    case int2: 1005
    case int4: 1007
    case text: 1009
    case int8: 1016
    case float8: 1022
    case timestamptz: 1185
    case jsonb: 3807
    case uuid: 2951
    default: preconditionFailure("no array type known for type \(element)")
    }
  }
}
