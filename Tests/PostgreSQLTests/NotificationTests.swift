import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Notifications", .database, .timeLimit(.minutes(15)))
struct NotificationTests {
  /// What a connection has heard.
  private final class Heard: Sendable {
    private let notifications = Mutex<[Connection.Notification]>([])

    init(by connection: Connection) {
      connection.onNotification { notification in self.notifications.withLock { $0.append(notification) } }
    }

    var payloads: [String] { notifications.withLock { $0.map(\.payload) } }
    var channels: Set<String> { notifications.withLock { Set($0.map(\.channel)) } }
  }

  @Test("an idle connection hears them in order")
  func idle() async throws {
    let database = try TestDatabase.required
    try await withConnection { connection in
      let heard = Heard(by: connection)
      try await connection.script("LISTEN news")
      try await database.sql("NOTIFY other, 'x'; NOTIFY news, 'one'; NOTIFY news, 'two'")
      try await eventually { heard.payloads == ["one", "two"] }
      #expect(heard.channels == ["news"])
    }
  }

  @Test("one that comes right behind a result waits for nothing")
  func behindResult() async throws {
    try await withConnection { connection in
      let heard = Heard(by: connection)
      try await connection.script("LISTEN news")
      var expected: [String] = []
      for number in 0..<20 {
        expected += ["\(number)", "script"]
        try await connection.execute(Statement("SELECT pg_notify('news', $1)"), Parameters("\(number)"))
        try await eventually { heard.payloads.count == expected.count - 1 }
        try await connection.script("NOTIFY news, 'script'")
        try await eventually { heard.payloads == expected }
      }
    }
  }

  @Test("the handler may close the connection")
  func closingHandler() async throws {
    try await withConnection { connection in
      connection.onNotification { [weak connection] _ in connection?.close() }
      try await connection.script("LISTEN news")
      _ = try? await connection.script("NOTIFY news")
      try await eventually { connection.failure?.code == .closed }
    }
  }
}
