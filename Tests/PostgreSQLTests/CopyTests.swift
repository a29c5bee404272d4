import PostgreSQL
import TestSupport
import Testing

extension TestDatabase {
  /// What the server's process `backend` waits for.
  func waitEvent(_ backend: Int) async throws -> String {
    try await column(
      "SELECT coalesce(wait_event, '') FROM pg_stat_activity WHERE pid = $1::int8", Parameters(backend), as: String.self
    ).first ?? "gone"
  }
}

@Suite("COPY out", .database, .timeLimit(.minutes(15)))
struct CopyOutTests {
  @Test("300,000 rows reach a slow consumer, and the server waits for it")
  func slowConsumer() async throws {
    let database = try TestDatabase.required
    try await withConnection { connection in
      let backend = try await connection.backend
      let copy = try await connection.copyOut(
        "COPY (SELECT n, repeat('x', 90) FROM generate_series(1, 300000) AS n) TO STDOUT")
      // Nobody reads: the sender stops when about 1 MiB is here and the socket is full.
      try await eventually { try await database.waitEvent(backend) == "ClientWrite" }
      var number = 0
      var chunks = 0
      while let chunk = try await copy.next() {
        #expect(chunk.bytes.count < (1 << 20) + 1000)
        var start = 0
        for end in chunk.ends {
          number += 1
          let row = chunk.bytes[start..<end]
          if !row.starts(with: "\(number)\t".utf8) { Issue.record("row \(number) is another one") }
          start = end
        }
        chunks += 1
        if chunks % 5 == 0 { try await Task.sleep(for: .milliseconds(10)) }
      }
      #expect(number == 300_000)
      #expect(try await connection.execute(Statement("SELECT 1")).int32(0, 0) == 1)
    }
  }

  @Test("nothing to copy is an end, not an error")
  func empty() async throws {
    try await withConnection { connection in
      let copy = try await connection.copyOut("COPY (SELECT 1 WHERE false) TO STDOUT")
      #expect(try await copy.next() == nil)
      #expect(try await copy.next() == nil)
    }
  }

  @Test(
    "what fails on the server fails here, at once or after some rows",
    arguments: [
      ("COPY nowhere TO STDOUT", "42P01"),
      ("COPY (SELECT 1 / (100000 - n) FROM generate_series(1, 200000) AS n) TO STDOUT", "22012"),
    ])
  func errors(sql: String, sqlState: String) async throws {
    try await withConnection { connection in
      let error = try await failure {
        let copy = try await connection.copyOut(sql)
        while try await copy.next() != nil {}
      }
      #expect(error.sqlState == sqlState)
      #expect(try await connection.execute(Statement("SELECT 1")).int32(0, 0) == 1)
    }
  }

  @Test("a statement that is no COPY is a programmer's error")
  func noCopy() async throws {
    try await withConnection { connection in
      let copy = try await connection.copyOut("SELECT 1")
      let error = try await failure { try await copy.next() }
      #expect(error.code == .unexpectedResult)
      #expect(try await connection.execute(Statement("SELECT 1")).int32(0, 0) == 1)
    }
  }

  @Test("on a closed connection it fails")
  func closed() async throws {
    try await withConnection { connection in
      connection.close()
      let error = try await failure { try await connection.copyOut("COPY (SELECT 1) TO STDOUT").next() }
      #expect(error.code == .closed)
    }
  }

  @Test("a cancelled reader ends the COPY")
  func cancelled() async throws {
    try await withConnection { connection in
      let copy = try await connection.copyOut("COPY (SELECT pg_sleep(30)) TO STDOUT")
      let task = Task { try await copy.next() }
      try await Task.sleep(for: .milliseconds(100))
      task.cancel()
      let error = try await failure { try await task.value }
      #expect(error.code == .cancelled)
      #expect(try await connection.execute(Statement("SELECT 1")).int32(0, 0) == 1)
    }
  }

  @Test("nothing else runs meanwhile; the COPY does not mind")
  func busy() async throws {
    try await withConnection { connection in
      // More than waits here unread: the COPY cannot be over before its rows are taken.
      let copy = try await connection.copyOut("COPY (SELECT generate_series(1, 500000)) TO STDOUT")
      let error = try await failure { try await connection.execute(Statement("SELECT 1")) }
      #expect(error.code == .unexpectedResult)
      var rows = 0
      while let chunk = try await copy.next() { rows += chunk.ends.count }
      #expect(rows == 500_000)
    }
  }
}

@Suite("COPY in", .database, .timeLimit(.minutes(15)))
struct CopyInTests {
  private struct Changed: Error {}

  private func withTable(_ body: (Connection) async throws -> Void) async throws {
    try await withConnection { connection in
      try await connection.script("CREATE TABLE numbers (number int8 PRIMARY KEY, text text)")
      try await body(connection)
      // Whatever happened: the connection serves on.
      #expect(try await connection.execute(Statement("SELECT 1")).int32(0, 0) == 1)
    }
  }

  private func count(_ connection: Connection) async throws -> Int {
    try await connection.one("SELECT count(*) FROM numbers")
  }

  @Test("100,000 rows arrive, more than the socket holds")
  func many() async throws {
    try await withTable { connection in
      let text = String(repeating: "y", count: 200)
      let taken = try await connection.copyIn("COPY numbers FROM STDIN") { copy in
        for block in 0..<100 {
          var bytes: [UInt8] = []
          for number in block * 1000..<(block + 1) * 1000 { bytes += "\(number)\t\(text)\n".utf8 }
          try await copy.write(bytes)
        }
      }
      #expect(taken == 100_000)
      #expect(try await count(connection) == 100_000)
    }
  }

  @Test("a body that throws keeps nothing, and its error comes out")
  func throwing() async throws {
    try await withTable { connection in
      await #expect(throws: Changed.self) {
        try await connection.copyIn("COPY numbers FROM STDIN") { copy in
          try await copy.write(Array("1\ta\n".utf8))
          throw Changed()
        }
      }
      let kept = try await count(connection)
      #expect(kept == 0)
    }
  }

  @Test(
    "what the server refuses fails here, though data went on",
    arguments: [("no number\ta\n", "22P02"), ("1\ta\n1\tb\n", "23505")], [0, 6000])
  func refused(data: (rows: String, sqlState: String), following: Int) async throws {
    try await withTable { connection in
      let error = try await failure {
        try await connection.copyIn("COPY numbers FROM STDIN") { copy in
          try await copy.write(Array(data.rows.utf8))
          // By now the server has answered: nothing else will come from it.
          try await Task.sleep(for: .milliseconds(50))
          let text = String(repeating: "z", count: 1000)
          for number in 0..<following { try await copy.write(Array("\(number + 10)\t\(text)\n".utf8)) }
        }
      }
      #expect(error.sqlState == data.sqlState)
      #expect(try await count(connection) == 0)
    }
  }

  @Test(
    "an error in the statement, or no COPY at all",
    arguments: [
      ("COPY nowhere FROM STDIN", PostgreSQLError.Code.server), ("SELECT 1", .unexpectedResult),
    ])
  func wrongStatement(sql: String, code: PostgreSQLError.Code) async throws {
    try await withTable { connection in
      let error = try await failure { try await connection.copyIn(sql) { _ in Issue.record("it has begun") } }
      #expect(error.code == code)
    }
  }

  @Test("a connection that is lost before the end fails the copy")
  func lost() async throws {
    let database = try TestDatabase.required
    try await withConnection { connection in
      try await connection.script("CREATE TABLE numbers (number int8)")
      let backend = try await connection.backend
      let error = try await failure {
        try await connection.copyIn("COPY numbers FROM STDIN") { copy in
          try await copy.write(Array("1\n".utf8))
          try await database.terminate(backend)
        }
      }
      #expect(error.code == .connectionLost)
      #expect(try await database.number("SELECT count(*) FROM numbers") == 0)
    }
  }

  @Test("a task that is cancelled while the server is busy with its data ends")
  func cancelled() async throws {
    try await withTable { connection in
      let database = try TestDatabase.required
      try await database.withConnection { other in
        try await other.script("BEGIN; INSERT INTO numbers VALUES (1)")
        let task = Task {
          try await connection.copyIn("COPY numbers FROM STDIN") { copy in try await copy.write(Array("1\ta\n".utf8)) }
        }
        try await Task.sleep(for: .milliseconds(200))
        task.cancel()
        let error = try await failure { try await task.value }
        #expect(error.code == .cancelled)
      }
    }
  }
}
