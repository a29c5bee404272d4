import FoundationEssentials
import TestSupport

@testable import EventStore

/// Appends that wait in a queue.
enum AppendSamples {
  static func part(
    _ stream: StreamName, _ expected: ExpectedVersion = .any, events: Int = 1, bytes: Int = 100,
    entry: StreamDirectory.Entry? = nil
  ) -> SealedAppend {
    SealedAppend(
      stream: stream, entry: entry, expected: expected, mayBePlaced: entry != nil,
      events: (0..<events).map { _ in
        SealedEvent(
          id: UUID(), type: "t", schemaVersion: 1, occurredAt: nil, metadata: [],
          envelope: [UInt8](repeating: 0, count: bytes))
      }, newKeys: [])
  }

  static func request(
    _ stream: StreamName, _ expected: ExpectedVersion = .any, events: Int = 1, bytes: Int = 100
  ) -> AppendRequest {
    AppendRequest([part(stream, expected, events: events, bytes: bytes)])
  }

  static func isSame(_ left: [AppendRequest], _ right: [AppendRequest]) -> Bool {
    left.count == right.count && zip(left, right).allSatisfy { $0 === $1 }
  }
}
