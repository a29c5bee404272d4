internal import EventStore

/// A value of a command's `--json` output: members keep their order.
enum JSONValue: Sendable {
  case string(String)
  case integer(Int)
  case number(Double)
  case boolean(Bool)
  case null
  /// JSON text, one line.
  case raw([UInt8])
  case array([JSONValue])
  case object([(String, JSONValue)])

  static func optional(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }
  static func optional(_ number: Double?) -> JSONValue { number.map { .number($0) } ?? .null }
  static func optional(_ number: Int?) -> JSONValue { number.map { .integer($0) } ?? .null }

  var bytes: [UInt8] {
    var writer = JSONWriter(capacity: 256)
    write(to: &writer)
    return writer.take()
  }

  private func write(to writer: inout JSONWriter) {
    switch self {
    case .string(let text): writer.append(text)
    case .integer(let integer): writer.append(integer)
    case .number(let number): number.isFinite ? writer.append(raw: Array("\(number)".utf8)) : writer.appendNull()
    case .boolean(let boolean): writer.append(boolean)
    case .null: writer.appendNull()
    case .raw(let bytes): writer.append(raw: bytes)
    case .array(let values):
      writer.append(raw: "[")
      for (index, value) in values.enumerated() {
        if index > 0 { writer.append(raw: ",") }
        value.write(to: &writer)
      }
      writer.append(raw: "]")
    case .object(let members):
      writer.append(raw: "{")
      for (index, (key, value)) in members.enumerated() {
        if index > 0 { writer.append(raw: ",") }
        writer.append(key: key)
        value.write(to: &writer)
      }
      writer.append(raw: "}")
    }
  }
}
