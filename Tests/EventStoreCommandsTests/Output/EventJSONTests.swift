import EventStore
import Foundation
import Testing

@testable import EventStoreCommands

@Suite("Events as lines of JSON")
struct EventJSONTests {
  @Test("a payload that is called JSON and is none makes no members of its own")
  func forged() throws {
    let text = #"1,"type":"forged""#
    let event = RecordedEvent(
      id: UUID(), stream: "a-1", version: 1, position: Position(1), type: "made", schemaVersion: 1, recordedAt: .now,
      payload: .success(.json(text)))
    var line: [UInt8] = []
    EventJSON.append(event, to: &line)
    let object = try #require(try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any])
    #expect(object["type"] as? String == "made" && object["dataEncoding"] as? String == "base64")
    #expect(object["data"] as? String == Data(text.utf8).base64EncodedString())
    // It comes back as what it was called.
    #expect(object["dataContent"] as? String == "json")
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try Data(line).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    var rows = try ExportedRows(path: file.path)
    let row = try rows.next()
    #expect(row?.event.payload == .json(text))
  }

  @Test("an event that is nested as deep as it may be comes back")
  func deep() throws {
    let nested = { (depth: Int) in String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
    let metadata = try Metadata(json: Array("{\"a\":\(nested(511))}".utf8))
    let payload = Payload.json("{\"x\":\(nested(511))}")
    #expect(JSONText.isValid(payload.bytes) && !JSONText.isValid(Array("[\(nested(512))]".utf8)))
    let event = RecordedEvent(
      id: UUID(), stream: "a-1", version: 1, position: Position(1), type: "made", schemaVersion: 1, recordedAt: .now,
      metadata: metadata, payload: .success(payload))
    var line: [UInt8] = []
    EventJSON.append(event, to: &line)
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try Data(line).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    var rows = try ExportedRows(path: file.path)
    let row = try rows.next()
    #expect(row?.event.payload == payload && row?.event.metadata == metadata)
  }

  @Test("metadata that were altered make no members, and no lines, of their own")
  func forgedMetadata() throws {
    for text in [#"{},"type":"forged""#, "{}}\n{\"id\":1", "{\"a\":1,\"a\":2}", "[]"] {
      let event = RecordedEvent(
        id: UUID(), stream: "a-1", version: 1, position: Position(1), type: "made", schemaVersion: 1, recordedAt: .now,
        metadata: Metadata(trusted: Array(text.utf8)), payload: .success(.json("1")))
      var line: [UInt8] = []
      EventJSON.append(event, to: &line)
      #expect(!line.contains(0x0A))
      let object = try #require(try JSONSerialization.jsonObject(with: Data(line)) as? [String: Any])
      #expect(object["type"] as? String == "made" && (object["metadata"] as? [String: Any])?.isEmpty == true)
      #expect((object["error"] as? [String: Any])?["code"] as? String == "malformed")
    }
  }
}
