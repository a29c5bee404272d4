internal import CSodium
internal import Synchronization

/// The shape of a state type: the names and types of its stored properties and of its enums' cases, all the way down.
/// Two programs whose shapes differ do not read each other's snapshots, whatever version they declare.
///
/// Swift's own names of types are not part of it: renaming one changes no stored byte. Types of the standard library and
/// Foundation count by their names, not by what they are made of, and so do generic classes. What is not seen here, such as
/// a coding key that was renamed, is mostly found when a snapshot is read: it must encode to what it was. (Not where two keys
/// of one type have changed places.)
///
/// Fields are read from the type's metadata, as `Mirror` does, but without a value: an empty array has a shape too.
/// Layout: docs/ABI/TypeMetadata.rst of the Swift project; where a program was built without reflection metadata
/// (`-disable-reflection-metadata`), a type counts by its name alone.
package enum StateShape {
  /// Of the type's shape, and of what its states are made from.
  ///
  /// - Parameter inputs: What else they are made from; always the same for a type.
  package static func fingerprint(
    of type: Any.Type, upcasters: [String], inputs: () -> [String]
  ) -> [UInt8] {
    let key = Known(type: ObjectIdentifier(type), upcasters: upcasters)
    if let known = known.withLock({ $0[key] }) { return known }
    let text = ([text(of: type)] + inputs() + ["upcast"] + upcasters).joined(separator: "\n")
    let fingerprint = fingerprint(ofText: text)
    known.withLock { $0[key] = fingerprint }
    return fingerprint
  }

  private struct Known: Hashable {
    let type: ObjectIdentifier
    let upcasters: [String]
  }
  /// Of the types of this process, which do not change: each load of an aggregate asks.
  private static let known = Mutex<[Known: [UInt8]]>([:])

  /// The first 16 bytes of SHA-256.
  package static func fingerprint(ofText text: String) -> [UInt8] { Array(sha256(Array(text.utf8)).prefix(16)) }

  package static func text(of type: Any.Type) -> String {
    var writer = ShapeWriter()
    writer.append(type)
    return writer.text
  }

  static func sha256(_ bytes: [UInt8]) -> [UInt8] {
    var digest = [UInt8](repeating: 0, count: crypto_hash_sha256_bytes())
    crypto_hash_sha256(&digest, bytes, UInt64(bytes.count))
    return digest
  }

  /// In hexadecimal digits.
  static func hexSHA256(_ bytes: [UInt8]) -> String {
    sha256(bytes).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// A generic type whose shape is that of its arguments.
private protocol ShapedContainer {
  static var shape: (mark: String, arguments: [Any.Type]) { get }
}
extension Optional: ShapedContainer {
  static var shape: (mark: String, arguments: [Any.Type]) { ("?", [Wrapped.self]) }
}
extension Array: ShapedContainer { static var shape: (mark: String, arguments: [Any.Type]) { ("[]", [Element.self]) } }
extension ContiguousArray: ShapedContainer {
  static var shape: (mark: String, arguments: [Any.Type]) { ("[]", [Element.self]) }
}
extension Set: ShapedContainer { static var shape: (mark: String, arguments: [Any.Type]) { ("set", [Element.self]) } }
extension Dictionary: ShapedContainer {
  static var shape: (mark: String, arguments: [Any.Type]) { ("[:]", [Key.self, Value.self]) }
}

private struct ShapeWriter {
  private(set) var text = ""
  /// Types that are being, or have been, written: a recursive type ends, and a repeated one is short.
  private var seen: [ObjectIdentifier: Int] = [:]

  mutating func append(_ type: Any.Type) {
    if let container = type as? any ShapedContainer.Type {
      let (mark, arguments) = container.shape
      text += mark + "<"
      for argument in arguments {
        append(argument)
        text += ","
      }
      text += ">"
      return
    }
    // A private type's name has an address in it.
    let name = String(reflecting: type).replacing(#/\(unknown context at [^)]*\)\./#, with: "")
    if let elements = tupleElements(of: type) {
      text += "("
      for element in elements {
        text += element.label + ":"
        append(element.type)
        text += ","
      }
      text += ")"
      return
    }
    let module = name.prefix { $0 != "." }
    guard name.contains("<") || !["Swift", "Foundation", "FoundationEssentials", "__C"].contains(module) else {
      // Which of Foundation's modules has a type is no part of its shape.
      text += name.dropFirst(module.count + 1)
      return
    }
    if let index = seen[ObjectIdentifier(type)] {
      text += "^\(index)"
      return
    }
    seen[ObjectIdentifier(type)] = seen.count
    guard let fields = FieldList(of: type) else {
      text += name
      return
    }
    text += fields.isEnum ? "enum\(rawValues(of: type, fields)){" : "{"
    if let superclass = fields.superclass {
      append(superclass)
      text += ";"
    }
    // The order of cases numbers them; that of properties means nothing.
    for field in fields.isEnum ? fields.fields : fields.fields.sorted(by: { $0.name < $1.name }) {
      text += field.name + ":"
      if let type = field.type { append(type) }
      text += ";"
    }
    text += "}"
  }
}

/// The raw values of an enum's cases, in their order.
private func rawValues(of type: Any.Type, _ cases: FieldList) -> String {
  func list<T: RawRepresentable>(_ type: T.Type) -> String {
    // The value of an enum without payloads is the number of its case: one byte up to 256 cases, none for a single one.
    let size = MemoryLayout<T>.size
    guard cases.fields.allSatisfy(\.isEmpty), size == (cases.fields.count > 1 ? 1 : 0) else { return "" }
    let values = cases.fields.indices.map { index in
      withUnsafeTemporaryAllocation(of: T.self, capacity: 1) { value in
        let bytes = UnsafeMutableRawBufferPointer(value)
        if size == 1 { bytes[0] = UInt8(index) }
        return "\(value[0].rawValue)"
      }
    }
    return "[" + values.joined(separator: ",") + "]"
  }
  guard let raw = type as? any RawRepresentable.Type else { return "" }
  return list(raw)
}

/// What a tuple, such as the values of an enum's case, is made of; `nil` for other types.
private func tupleElements(of type: Any.Type) -> [(label: String, type: Any.Type)]? {
  // Word 0 its kind, 1 the count, 2 the labels, each with a space behind it; then type and offset of each.
  let tupleKind = 0x301
  let metadata = unsafeBitCast(type, to: UnsafeRawPointer.self)
  guard metadata.load(as: Int.self) == tupleKind else { return nil }
  let word = MemoryLayout<Int>.size
  let count = metadata.load(fromByteOffset: word, as: Int.self)
  let names = metadata.load(fromByteOffset: 2 * word, as: UnsafePointer<CChar>?.self).map { String(cString: $0) } ?? ""
  let labels = names.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
  return (0..<count).map { index in
    let element = metadata + (3 + 2 * index) * word
    return (index < labels.count ? labels[index] : "", element.load(as: Any.Type.self))
  }
}

/// The stored properties of a struct or a class, or the cases of an enum, from its metadata.
private struct FieldList {
  struct Field {
    let name: String
    /// `nil` for a case without a payload, and for a type that the runtime does not find.
    let type: Any.Type?
    /// A case without a payload.
    let isEmpty: Bool
  }
  private(set) var fields: [Field] = []
  let isEnum: Bool
  private(set) var superclass: Any.Type?

  private static let structKind = 0x200
  private static let enumKind = 0x201
  /// Greater ones are pointers, of classes that Objective-C knows too.
  private static let lastKind = 0x7FF
  /// In the metadata of a class, after kind, superclass, three words of Objective-C's where that is, and 24 bytes of sizes.
  #if canImport(ObjectiveC)
    private static let classDescriptor = 64
  #else
    private static let classDescriptor = 40
  #endif

  /// - Returns: `nil` for other kinds of types, or where the program has no reflection metadata.
  init?(of type: Any.Type) {
    // The metadata of structs and enums: word 0 its kind, word 1 its descriptor, then the generic arguments.
    let metadata = unsafeBitCast(type, to: UnsafeRawPointer.self)
    let kind = metadata.load(as: Int.self)
    let isClass = kind == 0 || kind > Self.lastKind
    guard kind == Self.structKind || kind == Self.enumKind || isClass else { return nil }
    isEnum = kind == Self.enumKind
    let word = MemoryLayout<UnsafeRawPointer>.size
    guard
      let descriptor = metadata.load(
        fromByteOffset: isClass ? Self.classDescriptor : word, as: UnsafeRawPointer?.self)
    else { return nil }
    if isClass {
      // Where the arguments of a generic one are depends on its superclasses.
      guard !String(reflecting: type).contains("<") else { return nil }
      superclass = (type as? AnyClass).flatMap { _getSuperclass($0) }
    }
    // Flags, parent, name, access function, fields: 4 bytes each, pointers relative to where they stand.
    guard let list = Self.relative(descriptor + 16) else { return nil }
    // Type name, superclass, kind and size of a record, count; then the records: flags, type name, field name.
    let recordSize = Int(list.loadUnaligned(fromByteOffset: 10, as: UInt16.self))
    let count = Int(list.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
    for index in 0..<count {
      let record = list + 16 + index * recordSize
      guard let name = Self.relative(record + 8) else { return nil }
      let type = Self.relative(record + 4).flatMap { mangled in
        _getTypeByMangledNameInContext(
          mangled.assumingMemoryBound(to: UInt8.self), Self.length(ofMangledName: mangled),
          genericContext: descriptor, genericArguments: isClass ? nil : metadata + 2 * word)
      }
      fields.append(
        Field(
          name: String(cString: name.assumingMemoryBound(to: CChar.self)), type: type,
          isEmpty: Self.relative(record + 4) == nil))
    }
  }

  private static func relative(_ pointer: UnsafeRawPointer) -> UnsafeRawPointer? {
    let offset = pointer.loadUnaligned(as: Int32.self)
    return offset == 0 ? nil : pointer + Int(offset)
  }

  /// A mangled name ends with a zero, but may hold references: a byte up to 0x17 and four of an offset, or up to 0x1F
  /// and a pointer (docs/ABI/Mangling.rst, "Symbolic references").
  private static func length(ofMangledName name: UnsafeRawPointer) -> UInt {
    var length = 0
    while true {
      switch name.load(fromByteOffset: length, as: UInt8.self) {
      case 0: return UInt(length)
      case 1...0x17: length += 5
      case 0x18...0x1F: length += 1 + MemoryLayout<UnsafeRawPointer>.size
      default: length += 1
      }
    }
  }
}
