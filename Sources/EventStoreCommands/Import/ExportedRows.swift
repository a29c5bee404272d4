internal import EventStore
internal import FoundationEssentials

/// The rows of a file that `export` wrote: events with their ids, versions and times.
struct ExportedRows: ImportRows, ~Copyable {
  private var reader: LineReader
  private var members: [JSONText.Member] = []
  private var met: Set<EventInStream> = []

  /// An id may stand in several streams. (The name's hash, as there is one of these for each row.)
  private struct EventInStream: Hashable {
    let id: UUID
    let stream: Int
  }

  init(path: String) throws { reader = try LineReader(path: path) }

  /// They have ids.
  mutating func identify(by ids: ContentIDs) {}

  var line: Int { reader.lineNumber }
  var bytesConsumed: Int { reader.bytesConsumed }
  var totalSize: Int? { reader.totalSize }

  mutating func next() throws(RowProblem) -> ImportRow? {
    guard try reader.advanceToContent() else { return nil }
    let line = reader.lineNumber
    let object = reader.line
    do throws(JSONTextError) {
      // An event's data may be as deep by itself.
      try JSONText.topLevelMembers(of: object, into: &members, valueDepth: JSONText.maximumDepth)
    } catch {
      throw RowProblem(line: line, "not a JSON object: \(error)")
    }
    let row = Members(members, object, line: line)
    do {
      try row.checkNames()
      guard let id = UUID(uuidString: try row.string("id")) else { throw row.problem("id is not a UUID") }
      let stream = try StreamName(try row.string("stream"))
      guard met.insert(EventInStream(id: id, stream: stream.hashValue)).inserted else {
        throw row.problem("event \(id.uuidString.lowercased()) of stream \(stream) is in this file already")
      }
      var event = EventData(
        id: id, type: try row.string("type"), schemaVersion: try row.integer("schemaVersion") ?? 1,
        payload: try row.payload())
      if let metadata = row.raw("metadata"), JSONText.kind(of: metadata) != .null {
        event.metadata = try Metadata(json: Array(metadata))
      }
      if row.raw("time") != nil {
        let text = try row.string("time")
        event.occurredAt = Timestamp.date(microseconds: try TimeFormat.iso8601.microseconds(text))
      }
      if row.raw("subject") != nil { event.subject = try row.string("subject") }
      return ImportRow(stream: stream, event: event, version: try row.integer("version"))
    } catch let problem as RowProblem {
      throw problem
    } catch {
      throw row.problem("\(error)")
    }
  }

  /// The members of one line.
  private struct Members {
    let members: [JSONText.Member]
    let object: UnsafeRawBufferPointer
    let line: Int

    init(_ members: [JSONText.Member], _ object: UnsafeRawBufferPointer, line: Int) {
      self.members = members
      self.object = object
      self.line = line
    }

    func problem(_ text: String) -> RowProblem {
      RowProblem(line: line, text + " (other JSON lines than those of `export` need --stream and --type)")
    }

    /// A member that nobody reads, perhaps a slip, would be lost without a word.
    func checkNames() throws {
      guard let unknown = members.first(where: { !Self.known.contains($0.key) }) else { return }
      throw problem("unknown member \(unknown.key.debugDescription): expected \(Self.known.joined(separator: ", "))")
    }

    /// As ``EventJSON`` writes them.
    private static let known = [
      "id", "stream", "version", "position", "type", "schemaVersion", "time", "data", "metadata", "subject",
      "dataEncoding", "dataContent", "error",
    ]

    func raw(_ key: String) -> UnsafeRawBufferPointer? {
      members.first { $0.key == key }.map { UnsafeRawBufferPointer(rebasing: object[$0.value]) }
    }

    func string(_ key: String) throws -> String {
      guard let raw = raw(key) else { throw problem("\(key) is missing") }
      guard JSONText.kind(of: raw) == .string else { throw problem("\(key) is not a string") }
      return try JSONText.string(raw)
    }

    func integer(_ key: String) throws -> Int? {
      guard let raw = raw(key) else { return nil }
      guard let value = try? JSONText.integer(raw) else { throw problem("\(key) is not an integer") }
      return value
    }

    func payload() throws -> Payload {
      guard let data = raw("data") else { throw problem("data is missing") }
      if raw("error") != nil { throw problem("the event was exported without its payload") }
      guard raw("dataEncoding") != nil else { return Payload(bytes: Array(data), content: .json) }
      guard try string("dataEncoding") == "base64", let bytes = Data(base64Encoded: try string("data")) else {
        throw problem("data is not base64")
      }
      guard raw("dataContent") != nil else { return Payload(bytes: Array(bytes)) }
      guard try string("dataContent") == "json" else { throw problem("dataContent is not json") }
      return Payload(bytes: Array(bytes), content: .json)
    }
  }
}
