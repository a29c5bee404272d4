internal import EventStore

/// A field that is not the same in two states.
package struct FieldChange: Sendable, Hashable {
  /// Names of nested fields with dots: `address.city`.
  package let field: String
  /// JSON text; `nil`: there was none.
  package let before: String?
  /// JSON text; `nil`: there is none.
  package let after: String?
}

package enum JSONChanges {
  /// Where a state is something else than an object, it changes as a whole, under this name.
  package static let whole = "state"

  /// What differs between two JSON objects. Objects are gone into; arrays are one value. First in the order of `after`,
  /// then what is gone.
  package static func between(_ before: [UInt8], _ after: [UInt8]) -> [FieldChange] {
    let (old, new) = (JSONText.compacted(before), JSONText.compacted(after))
    guard isObject(old), isObject(new) else {
      return old == new ? [] : [FieldChange(field: whole, before: text(old), after: text(new))]
    }
    var changes: [FieldChange] = []
    compare(before, after, path: "", &changes)
    return changes
  }

  private static func compare(
    _ before: [UInt8], _ after: [UInt8], path: String, _ changes: inout [FieldChange]
  ) {
    let (old, new) = (members(of: before), members(of: after))
    let oldValues = Dictionary(old, uniquingKeysWith: { $1 })
    var seen: Set<String> = []
    for (name, value) in new {
      seen.insert(name)
      let place = path.isEmpty ? name : "\(path).\(name)"
      guard let earlier = oldValues[name] else {
        changes.append(FieldChange(field: place, before: nil, after: text(value)))
        continue
      }
      if earlier == value { continue }
      if isObject(earlier), isObject(value) {
        compare(earlier, value, path: place, &changes)
      } else {
        changes.append(FieldChange(field: place, before: text(earlier), after: text(value)))
      }
    }
    for (name, value) in old where !seen.contains(name) {
      changes.append(FieldChange(field: path.isEmpty ? name : "\(path).\(name)", before: text(value), after: nil))
    }
  }

  private static func members(of object: [UInt8]) -> [(String, [UInt8])] {
    ((try? JSONText.topLevelMembers(of: object)) ?? []).map { ($0.key, JSONText.compacted(Array(object[$0.value]))) }
  }

  private static func isObject(_ json: [UInt8]) -> Bool { json.first == UInt8(ascii: "{") }
  private static func text(_ json: [UInt8]) -> String { String(decoding: json, as: UTF8.self) }
}
