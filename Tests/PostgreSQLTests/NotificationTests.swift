import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("Notifications", .database, .timeLimit(.minutes(1)))
struct NotificationTests {
  private func received(
    _ body: (Connection, AsyncStream<Connection.Notification>.Iterator) async throws -> Void
  ) async throws {
    try await withConnection { connection in
      let (stream, continuation) = AsyncStream.makeStream(of: Connection.Notification.self)
      connection.onNotification { continuation.yield($0) }
      try await body(connection, stream.makeAsyncIterator())
    }
  }

  @Test("an idle connection hears them in order")
  func idle() async throws {
    let database = try TestDatabase.required
    try await received { connection, iterator in
      var iterator = iterator
      try await connection.script("LISTEN news")
      try await database.sql("NOTIFY news, 'one'; NOTIFY news, 'two'; NOTIFY other, 'x'")
      #expect(await iterator.next()?.payload == "one")
      let two = await iterator.next()
      #expect(two?.payload == "two")
      #expect(two?.channel == "news")
    }
  }

  @Test("one that comes right behind a result waits for nothing")
  func behindResult() async throws {
    try await received { connection, iterator in
      var iterator = iterator
      try await connection.script("LISTEN news")
      for number in 0..<20 {
        try await connection.execute(Statement("SELECT pg_notify('news', $1)"), Parameters("\(number)"))
        #expect(await iterator.next()?.payload == "\(number)")
        try await connection.script("NOTIFY news, 'script'")
        #expect(await iterator.next()?.payload == "script")
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
