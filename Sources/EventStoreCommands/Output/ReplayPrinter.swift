internal import EventStore
internal import FoundationEssentials
internal import Replay

/// Prints states, rows, and what changed.
final class ReplayPrinter {
  let output = StandardOutput()
  private let json: Bool
  private var lastTable: String?

  init(json: Bool) { self.json = json }

  // MARK: States

  func print(_ state: StreamState, of stream: StreamName, _ name: String) {
    if json {
      return output.line(
        .object([
          ("stream", .string(stream.description)), ("version", .integer(state.version)),
          ("time", .string(Timestamp.text(state.time))), ("stateType", .string(name)), ("state", .raw(state.json)),
          ("snapshotVersion", .integer(state.snapshotVersion)), ("eventsRead", .integer(state.eventsRead)),
        ]))
    }
    output.line("\(stream) at version \(state.version), \(Timestamp.text(state.time)): \(name)")
    if state.snapshotVersion > 0 {
      line(
        "from the snapshot of version \(state.snapshotVersion) and \(Quantity.count(state.eventsRead, "event"))", .dim)
    }
    var table = Table([.init("FIELD"), .init("VALUE")] + (state.origins.isEmpty ? [] : [.init("VERSION", .right)]))
    for (field, value) in Self.members(of: state.json) {
      table.append([field, value] + (state.origins[field].map { [String($0)] } ?? []))
    }
    output.text(table.text(for: output.terminal))
  }

  // MARK: Rows

  func print(_ rows: [FoldedModel.Row]) {
    if json {
      for row in rows {
        output.line(.object([("table", .string(row.table)), ("row", .raw(Array(row.json.utf8)))]))
      }
      return
    }
    var rest = rows.map { (table: $0.table, cells: Self.members(of: Array($0.json.utf8))) }[...]
    while let first = rest.first {
      let part = rest.prefix { $0.table == first.table && $0.cells.map(\.0) == first.cells.map(\.0) }
      rest = rest.dropFirst(part.count)
      if lastTable != first.table {
        output.line("\(lastTable == nil ? "" : "\n")\(first.table)")
        lastTable = first.table
      }
      var table = Table(
        first.cells.map {
          .init($0.0.uppercased(), $0.1.first.map { $0.isNumber || $0 == "-" } ?? false ? .right : .left)
        })
      for row in part { table.append(row.cells.map(\.1)) }
      output.text(table.text(for: output.terminal))
    }
  }

  // MARK: Changes

  func print(_ event: RecordedEvent, _ changes: [FieldChange], who: String? = nil) {
    print(event, changes.map(Self.value), changes.map(Self.text), who: who)
  }

  func print(_ event: RecordedEvent, _ changes: [RowChange]) {
    print(event, changes.map(Self.value), changes.flatMap(Self.texts), who: nil)
  }

  private func print(_ event: RecordedEvent, _ changes: [JSONValue], _ texts: [String], who: String?) {
    if json {
      return output.line(
        .object(
          [
            ("stream", .string(event.stream.description)), ("version", .integer(event.version)),
            ("time", .string(Timestamp.text(event.time))), ("type", .string(event.type)),
            ("id", .string(event.id.uuidString.lowercased())),
          ] + (who.map { [("who", $0.isEmpty ? .null : .string($0))] } ?? []) + [("changes", .array(changes))]))
    }
    line("\(event.version)  \(Timestamp.text(event.time))  \(event.type)", .bold)
    for text in texts { line("    \(text)") }
    if texts.isEmpty { line("    (nothing changed)") }
  }

  func print(_ changes: [FieldChange], of stream: StreamName, _ versions: ClosedRange<Int>) {
    print(changes.map(Self.value), changes.map(Self.text), of: stream, versions)
  }

  func print(_ changes: [RowChange], of stream: StreamName, _ versions: ClosedRange<Int>) {
    print(changes.map(Self.value), changes.flatMap(Self.texts), of: stream, versions)
  }

  private func print(
    _ changes: [JSONValue], _ texts: [String], of stream: StreamName, _ versions: ClosedRange<Int>
  ) {
    if json {
      return output.line(
        .object([
          ("stream", .string(stream.description)), ("from", .integer(versions.lowerBound)),
          ("to", .integer(versions.upperBound)), ("changes", .array(changes)),
        ]))
    }
    line("\(stream) from version \(versions.lowerBound) to \(versions.upperBound)")
    for text in texts { line("    \(text)") }
    if texts.isEmpty { line("    (nothing changed)") }
  }

  /// Cut to the terminal's width.
  private func line(_ text: String, _ style: Terminal.Style? = nil) {
    let printable = TextWidth.printable(text)
    let text = output.terminal.width.map { TextWidth.truncated(printable, to: $0) } ?? printable
    output.line(style.map { output.terminal.styled(text, $0) } ?? text)
  }

  // MARK: Values

  private static func value(_ change: FieldChange) -> JSONValue {
    .object([
      ("field", .string(change.field)), ("before", raw(change.before)), ("after", raw(change.after)),
    ])
  }

  private static func value(_ change: RowChange) -> JSONValue {
    .object([
      ("table", .string(change.table)), ("before", raw(change.before)), ("after", raw(change.after)),
    ])
  }

  private static func raw(_ json: String?) -> JSONValue { json.map { .raw(Array($0.utf8)) } ?? .null }

  static func text(_ change: FieldChange) -> String {
    switch (change.before.map(plain), change.after.map(plain)) {
    case (let before?, let after?): "\(change.field) \(before) → \(after)"
    case (nil, let after?): "\(change.field) \(after)"
    case (let before?, nil): "\(change.field) \(before) → gone"
    case (nil, nil): change.field
    }
  }

  /// A value for people: a string without its quotes, unless it is empty.
  private static func plain(_ json: String) -> String {
    guard json.first == "\"", json != "\"\"" else { return json }
    return (try? Array(json.utf8).withUnsafeBytes { try JSONText.string($0) }) ?? json
  }

  private static func texts(_ change: RowChange) -> [String] {
    switch (change.before, change.after) {
    case (let before?, let after?):
      // The key, for the eye: a row's first column.
      let columns = JSONChanges.between(Array(before.utf8), Array(after.utf8)).map(text).joined(separator: ", ")
      let first = members(of: Array(after.utf8)).first.map { "\($0.0) \($0.1): " } ?? ""
      return ["\(change.table)  \(first)\(columns)"]
    case (nil, let after?): return ["\(change.table)  + \(after)"]
    case (let before?, nil): return ["\(change.table)  - \(before)"]
    case (nil, nil): return []
    }
  }

  /// An object's members for people: strings without their quotes. One that PostgreSQL has nested deeper than we read
  /// stays as it is.
  private static func members(of object: [UInt8]) -> [(String, String)] {
    guard let members = try? JSONText.topLevelMembers(of: object, valueDepth: JSONText.maximumDepth) else {
      return [("row", String(decoding: object, as: UTF8.self))]
    }
    return members.map { member in
      let value = Array(object[member.value])
      let text = value.withUnsafeBytes { raw in
        value.first == UInt8(ascii: "\"") ? try? JSONText.string(raw) : nil
      }
      return (member.key, text ?? String(decoding: value, as: UTF8.self))
    }
  }
}
