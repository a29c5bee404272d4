internal import EventStore
internal import FoundationEssentials

/// The rows of a file of JSON lines, each an object that becomes the data as it stands.
struct JSONLineRows: ImportRows, ~Copyable {
  private var reader: LineReader
  private let stream: RowTemplate
  private let type: RowTemplate
  private let time: RowTemplate?
  private let subject: RowTemplate?
  private let timeFormat: TimeFormat
  private var identity: RowIdentity
  private var texts = RowTexts()
  private var members: [JSONText.Member] = []

  init(path: String, _ mapping: RowMapping) throws {
    let stream = try RowTemplate(mapping.stream)
    let type = try RowTemplate(mapping.type)
    let time = try mapping.time.map { try RowTemplate($0) }
    let subject = try mapping.subject.map { try RowTemplate($0) }
    let reader = try LineReader(path: path)
    // Nothing throws from here on: a noncopyable value is made whole or not at all.
    self.reader = reader
    self.stream = stream
    self.type = type
    self.time = time
    self.subject = subject
    timeFormat = mapping.timeFormat
    identity = RowIdentity(source: mapping.source)
  }

  mutating func identify(by ids: ContentIDs) { identity.ids = ids }

  var line: Int { reader.lineNumber }
  var bytesConsumed: Int { reader.bytesConsumed }
  var totalSize: Int? { reader.totalSize }

  mutating func next() throws(RowProblem) -> ImportRow? {
    guard try reader.advanceToContent() else { return nil }
    let line = reader.lineNumber
    let object = reader.line
    identity.add(object)
    let id = identity.next()
    do throws(JSONTextError) {
      try JSONText.topLevelMembers(of: object, into: &members)
    } catch {
      throw RowProblem(line: line, "not a JSON object: \(error)")
    }
    let members = members
    let stream = try texts.stream(line: line) { (out) throws(RowTemplateError) in
      try self.stream.append(members, of: object, to: &out)
    }
    let type = try texts.text(line: line) { (out) throws(RowTemplateError) in
      try self.type.append(members, of: object, to: &out)
    }
    var occurredAt: Date?
    if let time {
      occurredAt = try texts.time(line: line, timeFormat) { (out) throws(RowTemplateError) in
        try time.append(members, of: object, to: &out)
      }
    }
    var subject: String?
    if let template = self.subject {
      subject = try texts.text(line: line) { (out) throws(RowTemplateError) in
        try template.append(members, of: object, to: &out)
      }
    }
    return ImportRow(
      stream: stream,
      event: EventData(
        id: id, type: type, payload: Payload(bytes: Array(object), content: .json), subject: subject,
        occurredAt: occurredAt))
  }
}

extension LineReader {
  /// The next line that is not blank.
  mutating func advanceToContent() throws(RowProblem) -> Bool {
    do throws(InputError) {
      while try advance() {
        if !isBlank { return true }
      }
      return false
    } catch {
      throw RowProblem(error, line: lineNumber)
    }
  }
}
