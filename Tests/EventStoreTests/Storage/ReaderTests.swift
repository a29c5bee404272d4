import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@testable import EventStore

@Suite("Readers of the log, and what they share", .database, .timeLimit(.minutes(15)))
struct ReaderTests {
  private func append(_ count: Int, to log: PostgreSQLEventLog) async throws {
    try await log.append(
      (0..<count).map { EventData(type: "t", payload: .json("\($0)")) }, to: "a-1", expecting: .any)
  }

  @Test("those whose consumers work leave their connections to the consumers", arguments: [1, 2])
  func connections(pool: Int) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in try await append(300, to: log) }
    try await database.withLog({
      $0.connection.maximumConnections = pool
      $0.pageSize = 5
      $0.subscriptionRetries = 0
      $0.listens = false
    }) { log in
      // Each is in the middle of the log when its consumer needs a connection, more than there are.
      try await withThrowingTaskGroup { group in
        for reader in 0..<6 {
          group.addTask {
            let pages =
              switch reader % 3 {
              case 0: log.readAll().pages
              case 1: log.subscribe().pages
              default: log.read("a-1").pages
              }
            var versions: [Int] = []
            for try await page in pages {
              #expect(try await log.version(of: "a-1") == 300)
              versions += page.map(\.version)
              if versions.count >= 300 { break }
            }
            #expect(versions == Array(1...300))
          }
        }
        try await group.waitForAll()
      }
      // All have gone back.
      #expect(try await log.version(of: "a-1") == 300)
    }
  }

  @Test("reading all comes to an end where its consumer appends, also with the one connection that there is")
  func readerThatAppends() async throws {
    try await TestDatabase.required.withLog({
      $0.connection.maximumConnections = 1
      $0.pageSize = 5
      $0.listens = false
    }) { log in
      try await append(100, to: log)
      var events = 0
      for try await event in log.readAll() {
        try await log.append([.sample()], to: try StreamName("b-\(event.position)"), expecting: .noStream)
        events += 1
        if events > 100 { break }
      }
      #expect(events == 100)
      #expect(try await log.readAll().collect().count == 200)
    }
  }

  @Test("appends leave their connections to readers, between batches, and take others", arguments: [1, 2])
  func appends(pool: Int) async throws {
    let database = try TestDatabase.required
    try await database.withLog({
      $0.connection.maximumConnections = pool
      $0.connection.poolTimeout = .seconds(20)
      $0.listens = false
    }) { log in
      try await withThrowingTaskGroup { group in
        for task in 0..<8 {
          group.addTask {
            let stream = try StreamName("a-\(task)")
            for version in 1...40 {
              try await log.append(
                [EventData(type: "t", payload: .json("\(version)"))], to: stream, expecting: .exact(version - 1))
              #expect(try await log.version(of: stream) == version)
            }
          }
        }
        group.addTask {
          // Follows meanwhile.
          var count = 0
          for try await event in log.subscribe() {
            #expect(try await log.version(of: event.stream) ?? 0 >= event.version)
            count += 1
            if count == 320 { break }
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test("one that asks again after an error is given what it has not got")
  func afterAnError() async throws {
    let database = try TestDatabase.required
    try await database.withLog({
      $0.pageSize = 5
      $0.connection.statementTimeout = .milliseconds(300)
    }) { log in
      try await append(100, to: log)
      var pages = log.readAll().pages.makeAsyncIterator()
      let first = try await pages.next()
      var versions = try #require(first).map(\.version)
      try await database.withConnection { connection in
        try await connection.script("BEGIN; LOCK TABLE eventstore.events IN ACCESS EXCLUSIVE MODE")
        // What has come in already is given out.
        await #expect(throws: ReadError.self) {
          while let page = try await pages.next() { versions += page.map(\.version) }
        }
        #expect(versions.count < 100)
      }
      while let page = try await pages.next() { versions += page.map(\.version) }
      #expect(versions == Array(1...100))
    }
  }

  @Test("a time that someone wrote past the library ends no reader")
  func infinity() async throws {
    let database = try TestDatabase.required
    try await database.withLog({ $0.encryption = .off }) { log in
      try await append(1, to: log)
      for (version, time) in [(2, "infinity"), (3, "-infinity"), (4, "294276-12-31")] {
        try await database.sql(
          """
          SELECT eventstore.append_event(s.stream_id, \(version), false, gen_random_uuid(), 't', 1, '\(time)', NULL, '\\x0001')
            FROM eventstore.streams AS s
          """)
      }
      let times = try await log.readAll().collect().map(\.occurredAt)
      #expect(times.count == 4 && times[0] == nil && times.dropFirst().allSatisfy { $0 != nil })
    }
  }

  @Test("a time that nobody could read is refused", arguments: [1.7e15, -1.7e15, .infinity, .nan])
  func times(seconds: Double) async throws {
    try await TestDatabase.required.withLog { log in
      let event = EventData(
        type: "t", payload: .json("1"), occurredAt: Date(timeIntervalSince1970: seconds))
      let error = await appendError { () throws(AppendError) in
        try await log.append([event], to: "a-1", expecting: .any)
      }
      guard case .invalid? = error else {
        Issue.record("expected invalid, found \(String(describing: error))")
        return
      }
    }
  }

  @Test("the last version there can be is the last page")
  func lastVersion() async throws {
    let database = try TestDatabase.required
    try await database.withLog({
      $0.encryption = .off
      $0.pageSize = 1
    }) { log in
      try await append(1, to: log)
      try await database.sql(
        """
        SELECT eventstore.append_event(s.stream_id, \(Int64.max), false, gen_random_uuid(), 't', 1, NULL, NULL, '\\x0001')
          FROM eventstore.streams AS s
        """)
      #expect(try await log.read("a-1").collect().map(\.version) == [1, .max])
    }
  }
}
