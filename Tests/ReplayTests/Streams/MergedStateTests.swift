import EventStore
import FoundationEssentials
import TestSupport
import Testing

@testable import Replay

@Suite("The latest of every field", .database)
struct MergedStateTests {
  @Test("fields are merged byte by byte, with the version that set them; snapshots change nothing")
  func merged() async throws {
    try await TestDatabase.required.withLog { log in
      let payloads = [
        #"{"owner":"Ada","balance":0.10}"#, #"{"balance": 1000.00, "tags": [1, 2]}"#, "[1]", #"{"owner":null}"#,
      ]
      try await log.append(
        payloads.map { EventData(type: "t", payload: .json($0)) } + [
          EventData(type: "b", payload: Payload(bytes: [1]))
        ],
        to: "account-1", expecting: .noStream)
      for _ in 1...2 {
        let replay = FoldReplay.latestFields(log)
        let states = try await [1, 2, 3, 4, 5].asyncMap { try await replay.state(of: "account-1", at: .version($0)) }
        #expect(
          states.map { String(decoding: $0.json, as: UTF8.self) } == [
            #"{"owner":"Ada","balance":0.10}"#, #"{"owner":"Ada","balance":1000.00,"tags":[1,2]}"#,
            #"{"owner":"Ada","balance":1000.00,"tags":[1,2]}"#, #"{"owner":null,"balance":1000.00,"tags":[1,2]}"#,
            #"{"owner":null,"balance":1000.00,"tags":[1,2]}"#,
          ])
        #expect(states[4].origins == ["owner": 4, "balance": 2, "tags": 2] && states[4].version == 5)
        #expect(try await replay.buildSnapshot(of: "account-1") == 5)
        let snapshot = try #require(
          try await log.snapshots?.latest(of: "account-1", replay.shape, upTo: .max, until: nil))
        #expect(try await replay.verify(snapshot))
      }
    }
  }

  @Test("what changed: nested fields by their paths, arrays whole, gone ones too")
  func changes() {
    let changes = JSONChanges.between(
      Array(#"{"a":1,"b":{"c":1,"d":[1]},"e":true,"f":{}}"#.utf8),
      Array(#"{"a":1,"b":{"c":2,"d":[1,2],"x":0},"f":5,"g":"h"}"#.utf8))
    #expect(
      changes == [
        FieldChange(field: "b.c", before: "1", after: "2"), FieldChange(field: "b.d", before: "[1]", after: "[1,2]"),
        FieldChange(field: "b.x", before: nil, after: "0"), FieldChange(field: "f", before: "{}", after: "5"),
        FieldChange(field: "g", before: nil, after: "\"h\""), FieldChange(field: "e", before: "true", after: nil),
      ])
  }

  @Test("a state that is no object changes as a whole", arguments: [("1", "2"), ("{}", "[1]"), ("[1]", "{\"a\":1}")])
  func changesOfOthers(before: String, after: String) {
    #expect(
      JSONChanges.between(Array(before.utf8), Array(after.utf8))
        == [FieldChange(field: "state", before: before, after: after)])
    #expect(JSONChanges.between(Array(before.utf8), Array(" \(before) ".utf8)).isEmpty)
  }
}

extension Array {
  fileprivate func asyncMap<R>(_ transform: (Element) async throws -> R) async rethrows -> [R] {
    var results: [R] = []
    for element in self { results.append(try await transform(element)) }
    return results
  }
}
