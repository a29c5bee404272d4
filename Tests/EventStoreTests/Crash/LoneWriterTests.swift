import EventStore
import PostgreSQL
import Synchronization
import TestSupport
import Testing

/// A writer who is alone waits for the server on its own thread, and sends a plain INSERT.
@Suite("A lone writer whose connections are cut", .database, .timeLimit(.minutes(15)))
struct LoneWriterTests {
  @Test("while the server works on its append: it is appended, once, by another connection")
  func cutInTheMiddle() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample("1")], to: "order-1", expecting: .noStream)
      let held = Atomic<Bool>(false)
      async let cut: Int = database.withConnection { blocker in
        try await blocker.inTransaction { (transaction: borrowing Transaction) in
          try await transaction.execute(Statement("LOCK TABLE eventstore.events IN SHARE MODE"))
          held.store(true, ordering: .relaxed)
          while true {
            try await Task.sleep(for: .milliseconds(5))
            let cut = try await database.number(
              """
              SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'
              """)
            if cut > 0 { return cut }
          }
        }
      }
      while !held.load(ordering: .relaxed) { try await Task.sleep(for: .milliseconds(1)) }
      let appended = try await log.append([.sample("2")], to: "order-1", expecting: .exact(1))
      #expect(try await cut == 1)
      #expect(appended.firstVersion == 2)
      try await log.append([.sample("3")], to: "order-1", expecting: .exact(2))
      let read = try await log.read("order-1").collect()
      #expect(read.map(\.text) == ["1", "2", "3"])
      #expect(read.map(\.version) == [1, 2, 3])
    }
  }

  @Test("at any moment: every append is there, once, in order")
  func cutAnywhere() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let isOver = Atomic<Bool>(false)
      let cuts = Atomic<Int>(0)
      async let cutting: Void = {
        try await database.withConnection { connection in
          while !isOver.load(ordering: .relaxed) {
            // Long enough, now and then, for a new connection on a busy machine.
            try await Task.sleep(for: .milliseconds(Int.random(in: 5...150)))
            let rows = try await connection.execute(
              Statement(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()
                """))
            cuts.wrappingAdd(rows.count, ordering: .relaxed)
          }
        }
      }()
      var number = 0
      while number < 300 || cuts.load(ordering: .relaxed) <= 10 {
        number += 1
        let version = number
        let appended = try await log.append(
          [.sample("\(version)")], to: "order-1", expecting: version == 1 ? .noStream : .exact(version - 1))
        #expect(appended.firstVersion == version)
      }
      isOver.store(true, ordering: .relaxed)
      try await cutting
      // By another: this one's last connection may have been cut just now.
      let read = try await database.withLog { try await $0.read("order-1").collect() }
      #expect(read.map(\.text) == (1...number).map(String.init))
      #expect(read.map(\.version) == Array(1...number))
    }
  }
}
