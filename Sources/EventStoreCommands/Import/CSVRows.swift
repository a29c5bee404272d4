internal import EventStore
internal import FoundationEssentials

/// The rows of a CSV file; every column becomes a member of the data, as a string, byte for byte.
struct CSVRows: ImportRows, ~Copyable {
  private var reader: CSVReader
  private let stream: RowTemplate
  private let type: RowTemplate
  private let time: RowTemplate?
  private let subject: RowTemplate?
  private let timeFormat: TimeFormat
  private let shape: JSONObjectShape
  private let columnCount: Int
  private var identity: RowIdentity
  private var texts = RowTexts()
  private var writer = JSONWriter(capacity: 1024)

  init(path: String, delimiter: UInt8, _ mapping: RowMapping) throws {
    let reader = try CSVReader(path: path, delimiter: delimiter)
    let columns = reader.columns
    let stream = try RowTemplate(mapping.stream, columns: columns)
    let type = try RowTemplate(mapping.type, columns: columns)
    let time = try mapping.time.map { try RowTemplate($0, columns: columns) }
    let subject = try mapping.subject.map { try RowTemplate($0, columns: columns) }
    // Nothing throws from here on: a noncopyable value is made whole or not at all.
    self.reader = reader
    self.stream = stream
    self.type = type
    self.time = time
    self.subject = subject
    timeFormat = mapping.timeFormat
    shape = JSONObjectShape(names: columns)
    columnCount = columns.count
    identity = RowIdentity(source: mapping.source)
  }

  mutating func identify(by ids: ContentIDs) { identity.ids = ids }

  var line: Int { reader.lineNumber }
  var bytesConsumed: Int { reader.bytesConsumed }
  var totalSize: Int? { reader.totalSize }

  mutating func next() throws(RowProblem) -> ImportRow? {
    do throws(InputError) {
      guard try reader.advance() else { return nil }
    } catch {
      throw RowProblem(error, line: reader.lineNumber)
    }
    let line = reader.lineNumber
    // What the columns say: how they are quoted, or separated, makes no other row of it.
    for column in 0..<columnCount { identity.add(reader.field(column)) }
    let id = identity.next()
    let stream = try texts.stream(line: line) { (out) throws(RowTemplateError) in
      try self.stream.append(reader, to: &out)
    }
    let type = try texts.text(line: line) { (out) throws(RowTemplateError) in try self.type.append(reader, to: &out) }
    var occurredAt: Date?
    if let time {
      occurredAt = try texts.time(line: line, timeFormat) { (out) throws(RowTemplateError) in
        try time.append(reader, to: &out)
      }
    }
    var subject: String?
    if let template = self.subject {
      subject = try texts.text(line: line) { (out) throws(RowTemplateError) in try template.append(reader, to: &out) }
    }
    writer.removeAll()
    do throws(JSONTextError) {
      for column in 0..<columnCount {
        shape.appendOpening(of: column, to: &writer)
        try writer.append(stringBytes: reader.field(column))
      }
    } catch {
      throw RowProblem(line: line, "a column is not valid UTF-8")
    }
    shape.appendEnd(to: &writer)
    return ImportRow(
      stream: stream,
      event: EventData(
        id: id, type: type, payload: Payload(bytes: Array(writer.bytes), content: .json), subject: subject,
        occurredAt: occurredAt))
  }
}
