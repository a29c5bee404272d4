public import FoundationEssentials

/// A one-dimensional array parameter, written in PostgreSQL's binary format as it grows.
public struct BinaryArray: PostgreSQLEncodable {
  /// How many elements it has, nulls among them.
  public private(set) var count = 0
  private let element: UInt32
  private var hasNull = false
  /// What is written, and room behind it: the library appends bytes to an array in a hundred instructions a call.
  private var body: [UInt8]
  private var end = 0

  /// An empty array. What is appended must be in the binary format of the elements' type: that is not checked here.
  ///
  /// - Parameters:
  ///   - element: The OID of the elements' type, one of ``TypeOID``: of any other ``typeOID`` traps.
  ///   - capacity: Room for so many bytes: of each element its own, and 4 more.
  public init(of element: UInt32, reservingBytes capacity: Int = 0) {
    self.element = element
    body = [UInt8](repeating: 0, count: capacity)
  }

  /// An array of `bigint`.
  public init(_ values: some Sequence<Int64>) {
    self.init(of: TypeOID.int8)
    for value in values { append(value) }
  }

  /// An array of `text`.
  public init(_ values: some Sequence<String>) {
    self.init(of: TypeOID.text)
    for value in values { append(value) }
  }

  /// An array of `uuid`.
  public init(_ values: some Sequence<UUID>) {
    self.init(of: TypeOID.uuid)
    for value in values { append(value) }
  }

  /// An array of `boolean`.
  public init(_ values: some Sequence<Bool>) {
    self.init(of: TypeOID.bool)
    for value in values { append(value) }
  }

  /// An array of `bigint`; `nil` is null.
  public init(_ values: some Sequence<Int64?>) {
    self.init(of: TypeOID.int8)
    for value in values { if let value { append(value) } else { appendNull() } }
  }

  /// An array of `text`; `nil` is null.
  public init(_ values: some Sequence<String?>) {
    self.init(of: TypeOID.text)
    for value in values { if let value { append(value) } else { appendNull() } }
  }

  /// For elements of type `bigint`.
  public mutating func append(_ value: Int64) { append(integer: value) }

  /// For elements of type `integer`.
  public mutating func append(_ value: Int32) { append(integer: value) }

  /// For elements of type `boolean`.
  public mutating func append(_ value: Bool) { append(integer: value ? 1 as UInt8 : 0) }

  /// For elements of type `uuid`.
  public mutating func append(_ value: UUID) { withUnsafeBytes(of: value.uuid) { append($0) } }

  /// For elements of type `timestamptz`: to the microsecond. What is too far away is an infinity.
  public mutating func append(_ value: Date) { append(integer: value.microsecondsSince2000) }

  /// For elements of type `text`.
  public mutating func append(_ value: String) {
    var value = value
    value.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }

  /// For elements of type `bytea`; or a value of any type in its binary format.
  public mutating func append(_ value: [UInt8]) {
    value.withUnsafeBytes { append($0) }
  }

  /// The same. The bytes are copied.
  public mutating func append(_ value: UnsafeRawBufferPointer) {
    let target = room(for: value.count)
    body.withUnsafeMutableBytes { UnsafeMutableRawBufferPointer(rebasing: $0[target...]).copyMemory(from: value) }
  }

  /// For elements of any type.
  public mutating func appendNull() {
    hasNull = true
    _ = room(for: 0, length: -1)
  }

  @inline(__always)
  private mutating func append<I: FixedWidthInteger>(integer value: I) {
    let target = room(for: MemoryLayout<I>.size)
    body.withUnsafeMutableBytes { $0.storeBytes(of: value.bigEndian, toByteOffset: target, as: I.self) }
  }

  /// Adds a value of `size` bytes.
  ///
  /// - Returns: Where they are to be written.
  @inline(__always)
  private mutating func room(for size: Int, length: Int32? = nil) -> Int {
    let start = end
    end += 4 + size
    if end > body.count { grow() }
    body.withUnsafeMutableBytes {
      $0.storeBytes(of: (length ?? Int32(size)).bigEndian, toByteOffset: start, as: Int32.self)
    }
    count += 1
    return start + 4
  }

  private mutating func grow() {
    body.append(contentsOf: repeatElement(0, count: max(end - body.count, body.count, 64)))
  }

  /// What its values take in the format.
  package var byteCount: Int { end }

  public var typeOID: UInt32 { TypeOID.array(of: element) }

  public func encode(into bytes: inout [UInt8]) {
    bytes.reserveCapacity(bytes.count + end + 20)
    bytes.appendBigEndian(Int32(count == 0 ? 0 : 1))
    bytes.appendBigEndian(Int32(hasNull ? 1 : 0))
    bytes.appendBigEndian(element)
    guard count > 0 else { return }
    bytes.appendBigEndian(Int32(count))
    bytes.appendBigEndian(Int32(1))
    body.withUnsafeBytes { bytes.append(contentsOf: $0.prefix(end)) }
  }
}
