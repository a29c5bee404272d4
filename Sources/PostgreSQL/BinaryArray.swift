public import FoundationEssentials

/// A one-dimensional array parameter, written in PostgreSQL's binary format as it grows.
public struct BinaryArray: PostgreSQLEncodable {
  public private(set) var count = 0
  private let element: UInt32
  private var hasNull = false
  private var body: [UInt8] = []

  /// - Parameter element: The OID of the elements' type.
  public init(of element: UInt32, reservingBytes capacity: Int = 0) {
    self.element = element
    body.reserveCapacity(capacity)
  }

  public init(_ values: some Sequence<Int64>) {
    self.init(of: TypeOID.int8)
    for value in values { append(value) }
  }

  public init(_ values: some Sequence<String>) {
    self.init(of: TypeOID.text)
    for value in values { append(value) }
  }

  public init(_ values: some Sequence<UUID>) {
    self.init(of: TypeOID.uuid)
    for value in values { append(value) }
  }

  public init(_ values: some Sequence<Bool>) {
    self.init(of: TypeOID.bool)
    for value in values { append(value) }
  }

  public init(_ values: some Sequence<Int64?>) {
    self.init(of: TypeOID.int8)
    for value in values { if let value { append(value) } else { appendNull() } }
  }

  public init(_ values: some Sequence<String?>) {
    self.init(of: TypeOID.text)
    for value in values { if let value { append(value) } else { appendNull() } }
  }

  public mutating func append(_ value: Int64) {
    body.appendBigEndian(Int32(8))
    body.appendBigEndian(value)
    count += 1
  }

  public mutating func append(_ value: Int32) {
    body.appendBigEndian(Int32(4))
    body.appendBigEndian(value)
    count += 1
  }

  public mutating func append(_ value: Bool) {
    body.appendBigEndian(Int32(1))
    body.append(value ? 1 : 0)
    count += 1
  }

  public mutating func append(_ value: UUID) {
    body.appendBigEndian(Int32(16))
    withUnsafeBytes(of: value.uuid) { body.append(contentsOf: $0) }
    count += 1
  }

  public mutating func append(_ value: Date) {
    body.appendBigEndian(Int32(8))
    body.appendBigEndian(value.microsecondsSince2000)
    count += 1
  }

  public mutating func append(_ value: String) {
    var value = value
    value.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }

  public mutating func append(_ value: [UInt8]) {
    value.withUnsafeBytes { append($0) }
  }

  public mutating func append(_ value: UnsafeRawBufferPointer) {
    body.appendBigEndian(Int32(value.count))
    body.append(contentsOf: value)
    count += 1
  }

  public mutating func appendNull() {
    hasNull = true
    body.appendBigEndian(Int32(-1))
    count += 1
  }

  /// What its values take in the format.
  package var byteCount: Int { body.count }

  public var typeOID: UInt32 { TypeOID.array(of: element) }

  public func encode(into bytes: inout [UInt8]) {
    bytes.reserveCapacity(bytes.count + body.count + 20)
    bytes.appendBigEndian(Int32(count == 0 ? 0 : 1))
    bytes.appendBigEndian(Int32(hasNull ? 1 : 0))
    bytes.appendBigEndian(element)
    guard count > 0 else { return }
    bytes.appendBigEndian(Int32(count))
    bytes.appendBigEndian(Int32(1))
    bytes.append(contentsOf: body)
  }
}
