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
