import EventStore
import FoundationEssentials

extension EventData {
  /// An event whose payload is `text`.
  static func sample(_ text: String = "{}", type: String = "test.happened", id: UUID = .v7()) -> EventData {
    EventData(id: id, type: type, payload: .json(text))
  }

  static func samples(_ count: Int, type: String = "test.happened") -> [EventData] {
    (0..<count).map { .sample("{\"number\":\($0)}", type: type) }
  }
}

extension RecordedEvent {
  /// The payload as text, or why it cannot be read.
  var text: String {
    switch payload {
    case .success(let payload): String(decoding: payload.bytes, as: UTF8.self)
    case .failure(let error): "<\(error.code)>"
    }
  }
}

extension EventSequence {
  /// The first `count` events; waits for them.
  func first(_ count: Int) async throws -> [RecordedEvent] {
    var events: [RecordedEvent] = []
    guard count > 0 else { return [] }
    for try await event in self {
      events.append(event)
      if events.count == count { break }
    }
    return events
  }
}

/// What an operation threw as an ``AppendError``; `nil` when it returned.
func appendError(_ body: () async throws(AppendError) -> Void) async -> AppendError? {
  do throws(AppendError) {
    try await body()
    return nil
  } catch {
    return error
  }
}
