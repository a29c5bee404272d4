internal import EventStore
internal import FoundationEssentials

/// An event as one line of JSON: the format of `read`, `log` and `export`, and what `import` takes back.
enum EventJSON {
  /// Members in this order: id, stream, version, position, type, schemaVersion, time, data, metadata.
  ///
  /// JSON payloads stand as they were stored; bytes, and what is no JSON though it was called so, as base64, said by
  /// `"dataEncoding":"base64"` (and, of the second kind, `"dataContent":"json"`). A payload that cannot be opened is null, and `error` says why.
  ///
  /// - Parameter subject: Whose data it is, where that is not the stream: for what is to be imported.
  static func append(_ event: RecordedEvent, subject: String? = nil, to output: inout [UInt8]) {
    var writer = JSONWriter(capacity: 512)
    writer.append(raw: "{\"id\":\"")
    writer.append(raw: Array(event.id.uuidString.lowercased().utf8))
    writer.append(raw: "\",\"stream\":")
    writer.append(event.stream.description)
    writer.append(raw: ",\"version\":")
    writer.append(event.version)
    writer.append(raw: ",\"position\":")
    writer.append(raw: Array(event.position.description.utf8))
    writer.append(raw: ",\"type\":")
    writer.append(event.type)
    writer.append(raw: ",\"schemaVersion\":")
    writer.append(event.schemaVersion)
    writer.append(raw: ",\"time\":\"")
    var time: [UInt8] = []
    Timestamp.append(event.time, to: &time)
    writer.append(raw: time)
    writer.append(raw: "\",\"data\":")
    var rest: (encoded: Payload.Content?, error: PayloadError?) = (nil, nil)
    switch event.payload {
    // An append takes a writer's word for it: what is no JSON would make members of its own.
    case .success(let payload) where payload.content == .json && JSONText.isValid(payload.bytes):
      writer.append(raw: JSONText.compacted(payload.bytes))
    case .success(let payload):
      writer.append(Data(payload.bytes).base64EncodedString())
      rest.encoded = payload.content
    case .failure(let error):
      writer.appendNull()
      rest.error = error
    }
    writer.append(raw: ",\"metadata\":")
    if event.metadata.isEmpty {
      writer.append(raw: "{}")
    } else if (try? JSONText.topLevelMembers(of: event.metadata.json)) != nil {
      writer.append(raw: JSONText.compacted(event.metadata.json))
    } else {
      // As a row may have it that was altered, or written past the library: it would make members, or lines, of its own.
      writer.append(raw: "{}")
      rest.error = rest.error ?? .malformed("its metadata is not a JSON object")
    }
    if let subject {
      writer.append(raw: ",\"subject\":")
      writer.append(subject)
    }
    if let content = rest.encoded {
      writer.append(raw: ",\"dataEncoding\":\"base64\"")
      if content == .json { writer.append(raw: ",\"dataContent\":\"json\"") }
    }
    if let error = rest.error {
      writer.append(raw: ",\"error\":{\"code\":")
      writer.append(error.code)
      writer.append(raw: ",\"message\":")
      writer.append(error.description)
      writer.append(raw: "}")
    }
    writer.append(raw: "}")
    output.append(contentsOf: writer.bytes)
  }

  /// The payload in one line for people.
  static func summary(_ event: RecordedEvent) -> String {
    switch event.payload {
    case .success(let payload) where payload.content == .json:
      String(decoding: JSONText.compacted(payload.bytes), as: UTF8.self)
    case .success(let payload): "(\(payload.bytes.count) bytes)"
    case .failure(let error): "(\(error.code): \(error.description))"
    }
  }
}
