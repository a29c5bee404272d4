import EventStore
import FoundationEssentials
import TestSupport
import Testing

@testable import Replay

@Suite("Dividing events into sets")
struct EventSetsTests {
  private func event(_ position: Int64, _ stream: StreamName, _ type: String) -> RecordedEvent {
    RecordedEvent(
      id: .v7(), stream: stream, version: Int(position), position: Position(position), type: type, schemaVersion: 1,
      recordedAt: Date(), payload: .success(.json("{}")))
  }

  private func model(_ streams: String) throws -> ReadModel {
    try ReadModel(
      Samples.balance(
        streams: streams,
        handler: "-- on: a\nDELETE FROM balance USING events;\n-- on: b, c\nDELETE FROM balance USING events;",
        more: "-- on each: d\nDELETE FROM balance USING events;\n-- ignore: e"), file: "f.sql")
  }

  @Test("in order, runs of one statement are a set; alone, where the file says each")
  func ordered() throws {
    let types = ["a", "a", "b", "c", "e", "b", "a", "d", "d"]
    let events = types.enumerated().map { event(Int64($0 + 1), $0 % 2 == 0 ? "s-1" : "s-2", $1) }
    let sets = try EventSets.divide(events, for: model("ordered"))
    #expect(sets.map { $0.events.map(\.position.rawValue) } == [[1, 2], [3, 4, 6], [7], [8], [9]])
  }

  @Test(
    "random histories: each stream's events stay in order, none is lost, and sets are few",
    arguments: 1...20 as ClosedRange<UInt64>)
  func independent(seed: UInt64) throws {
    var random = SeededNumbers(seed: seed)
    let events = (1...400).map { position in
      event(
        Int64(position), StreamName(stringLiteral: "s-\(Int.random(in: 0..<20, using: &random))"),
        ["a", "b", "c", "d", "e"].randomElement(using: &random) ?? "a")
    }
    let sets = try EventSets.divide(events, for: model("independent"))
    let applied = sets.flatMap(\.events)
    #expect(applied.count == events.count { $0.type != "e" })
    for stream in Set(events.map(\.stream)) {
      #expect(
        applied.filter { $0.stream == stream }.map(\.position)
          == events.filter { $0.stream == stream && $0.type != "e" }.map(\.position))
    }
    #expect(sets.allSatisfy { set in set.events.map(\.position) == set.events.map(\.position).sorted() })
    #expect(sets.allSatisfy { $0.handler != 2 || $0.events.count == 1 })
    #expect(sets.count { $0.handler != 2 } < 60)
  }
}
