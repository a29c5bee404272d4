package import EventStore

/// A text with columns in braces, as `account-{account_id}`, filled from each row of an import.
///
/// `{{` and `}}` stand for a brace. A template is parsed once and filled without allocating.
package struct RowTemplate: Sendable {
  private enum Piece {
    case literal([UInt8])
    /// `index` is the column's place in a CSV row, or -1 for JSON, where members are found by name.
    case column(name: String, index: Int)
  }

  /// The names in braces, each once, in the order of their first use.
  package let names: [String]
  private let pieces: [Piece]

  /// A template for the rows of a table with these columns.
  ///
  /// - Throws: the template is empty or malformed, or names a column that the table does not have.
  package init(_ text: String, columns: [String]) throws(RowTemplateError) {
    try self.init(text) { (name) throws(RowTemplateError) in
      if let index = columns.firstIndex(of: name) { return index }
      throw .unknownColumn(name, nearest: NearestName.of(name, among: columns), columns: columns)
    }
  }

  /// A template for JSON objects: whether a member exists shows in each row.
  ///
  /// - Throws: the template is empty or malformed.
  package init(_ text: String) throws(RowTemplateError) {
    try self.init(text) { _ in -1 }
  }

  private init(_ text: String, index: (String) throws(RowTemplateError) -> Int) throws(RowTemplateError) {
    var pieces: [Piece] = []
    var names: [String] = []
    var literal: [UInt8] = []
    let bytes = Array(text.utf8)
    guard !bytes.isEmpty else { throw .empty }
    var position = 0
    while position < bytes.count {
      let byte = bytes[position]
      let isBrace = byte == UInt8(ascii: "{") || byte == UInt8(ascii: "}")
      if isBrace, position + 1 < bytes.count, bytes[position + 1] == byte {
        literal.append(byte)
        position += 2
      } else if byte == UInt8(ascii: "{") {
        let name = bytes[(position + 1)...].prefix { $0 != UInt8(ascii: "}") && $0 != UInt8(ascii: "{") }
        guard name.endIndex < bytes.count, bytes[name.endIndex] == UInt8(ascii: "}") else {
          throw .unclosedBrace(offset: position)
        }
        guard !name.isEmpty else { throw .emptyName(offset: position) }
        if !literal.isEmpty { pieces.append(.literal(literal)) }
        literal = []
        let column = String(decoding: name, as: UTF8.self)
        pieces.append(.column(name: column, index: try index(column)))
        if !names.contains(column) { names.append(column) }
        position = name.endIndex + 1
      } else if byte == UInt8(ascii: "}") {
        throw .unopenedBrace(offset: position)
      } else {
        literal.append(byte)
        position += 1
      }
    }
    if !literal.isEmpty { pieces.append(.literal(literal)) }
    self.pieces = pieces
    self.names = names
  }

  /// Appends the template filled from the current row of `rows`, whose columns it was made for.
  ///
  /// - Throws: ``RowTemplateError/emptyValue(_:)``; `output` is as before.
  package func append(_ rows: borrowing CSVReader, to output: inout [UInt8]) throws(RowTemplateError) {
    let before = output.count
    for piece in pieces {
      switch piece {
      case .literal(let bytes): output.append(contentsOf: bytes)
      case .column(let name, let index):
        let field = rows.field(index)
        guard !field.isEmpty else {
          output.removeSubrange(before...)
          throw .emptyValue(name)
        }
        output.append(contentsOf: field)
      }
    }
  }

  /// Appends the template filled from an object: strings decoded, numbers and booleans as they stand.
  ///
  /// - Parameters:
  ///   - members: the members of `object`, by ``JSONText/topLevelMembers(of:into:)``.
  ///   - object: the text to which the members' offsets belong.
  /// - Throws: a member is missing, null, empty, an object or an array; `output` is as before.
  package func append(
    _ members: [JSONText.Member], of object: UnsafeRawBufferPointer, to output: inout [UInt8]
  ) throws(RowTemplateError) {
    let before = output.count
    do throws(RowTemplateError) {
      for piece in pieces {
        switch piece {
        case .literal(let bytes): output.append(contentsOf: bytes)
        case .column(let name, _): try appendMember(name, in: members, of: object, to: &output)
        }
      }
    } catch {
      output.removeSubrange(before...)
      throw error
    }
  }

  private func appendMember(
    _ name: String, in members: [JSONText.Member], of object: UnsafeRawBufferPointer, to output: inout [UInt8]
  ) throws(RowTemplateError) {
    guard let member = members.first(where: { $0.key == name }) else {
      throw .missingMember(name, nearest: NearestName.of(name, among: members.map(\.key)))
    }
    let raw = UnsafeRawBufferPointer(rebasing: object[member.value])
    switch JSONText.kind(of: raw) {
    case .string:
      let before = output.count
      do throws(JSONTextError) {
        try JSONText.appendDecodedString(raw, to: &output)
      } catch {
        throw .notAScalar(name, found: "text that is not a valid JSON string")
      }
      if output.count == before { throw .emptyValue(name) }
    case .number, .boolean: output.append(contentsOf: raw)
    case .null: throw .notAScalar(name, found: "null")
    case .object: throw .notAScalar(name, found: "an object")
    case .array: throw .notAScalar(name, found: "an array")
    case nil: throw .notAScalar(name, found: "text that is not JSON")
    }
  }
}

/// What is wrong with a template, or with a row that should fill it. Names are given, values never.
package enum RowTemplateError: Error, Hashable, Sendable {
  case empty
  /// Offsets are in bytes from the start of the template, from 0.
  case unclosedBrace(offset: Int)
  case unopenedBrace(offset: Int)
  case emptyName(offset: Int)
  case unknownColumn(String, nearest: String?, columns: [String])
  /// The row has no such member.
  case missingMember(String, nearest: String?)
  /// The row's value has no text: null, an object or an array.
  case notAScalar(String, found: String)
  /// The row's value is an empty text.
  case emptyValue(String)
}

extension RowTemplateError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .empty: "the template is empty; write a text with columns in braces, as account-{account_id}"
    case .unclosedBrace(let offset):
      "the template's { at byte \(offset) is never closed; close it with }, or write {{ for a brace as text"
    case .unopenedBrace(let offset):
      "the template's } at byte \(offset) closes nothing; write }} for a brace as text"
    case .emptyName(let offset): "the template's {} at byte \(offset) names no column; write its name inside"
    case .unknownColumn(let name, let nearest, let columns):
      "the template names the column \"\(name)\", which the input does not have"
        + (nearest.map { "; did you mean \"\($0)\"?" } ?? ".")
        + " The columns are: \(columns.map { "\"\($0)\"" }.joined(separator: ", "))"
    case .missingMember(let name, let nearest):
      "the template needs \"\(name)\", which this object does not have"
        + (nearest.map { "; did you mean \"\($0)\"?" } ?? "; add it, or change the template")
    case .notAScalar(let name, let found):
      "the template needs \"\(name)\" as a string, number or boolean, and found \(found); give it a "
        + "value, or change the template"
    case .emptyValue(let name):
      "the template needs \"\(name)\", which is empty here; give it a value, or change the template"
    }
  }
}

/// The name someone probably meant.
enum NearestName {
  /// The candidate with the fewest letters to change, if that is at most a third of them (at least two).
  static func of(_ name: String, among candidates: [String]) -> String? {
    let wanted = Array(name.lowercased())
    let allowed = max(2, wanted.count / 3)
    return candidates.map { (name: $0, distance: distance(wanted, Array($0.lowercased()))) }
      .filter { $0.distance <= allowed && $0.distance < max(wanted.count, 2) }
      .min { $0.distance < $1.distance }?.name
  }

  /// Levenshtein's distance, where swapping two neighbours counts as one change.
  private static func distance(_ from: [Character], _ to: [Character]) -> Int {
    var beforeLast: [Int] = []
    var last = Array(0...to.count)
    for (row, letter) in from.enumerated() {
      var current = [row + 1]
      for (column, other) in to.enumerated() {
        var best = min(last[column] + (letter == other ? 0 : 1), last[column + 1] + 1, current[column] + 1)
        if row > 0, column > 0, letter == to[column - 1], from[row - 1] == other {
          best = min(best, beforeLast[column - 1] + 1)
        }
        current.append(best)
      }
      beforeLast = last
      last = current
    }
    return last[to.count]
  }
}
