import Foundation
import PostgreSQL
import TestSupport
import Testing

extension CommandLineTests {
  @Suite("Imports that meet something")
  struct InterruptedImportTests {
    private static let rows = 30_000
    private static let arguments = [
      "import", "rows.csv", "--stream", "account-{account}", "--type", "row", "--json",
    ]

    private enum End: Sendable {
      case signal(Int32)
      case serverKilled
    }

    private func writeRows(_ esctl: EsctlRunner) throws {
      var text = "n,account\n"
      // Neighbouring rows are of different streams, and every batch has streams that the one before had not.
      for row in 0..<Self.rows { text += "\(row),\(row * 7919 % 4001)\n" }
      try text.write(to: esctl.folder.appendingPathComponent("rows.csv"), atomically: true, encoding: .utf8)
    }

    /// The rows of the log, which are checked to be a beginning of the file, with versions without gaps.
    private func beginning(_ esctl: EsctlRunner) async throws -> Int {
      let events = try await esctl("log", "--json").lines
      var versions: [String: Int] = [:]
      for (row, event) in events.enumerated() {
        let stream = try #require(event["stream"] as? String)
        versions[stream, default: 0] += 1
        try #require((event["data"] as? [String: String])?["n"] == String(row))
        try #require(event["version"] as? Int == versions[stream])
      }
      return events.count
    }

    private func waitForRows(_ count: Int, _ server: IsolatedServer, _ importing: EsctlRunner.Running) async throws {
      let connection = try await Connection.connect(ConnectionConfiguration(server.database.connectionString))
      defer { connection.close() }
      let last = Statement("SELECT count(*) FROM eventstore.events")
      while importing.process.isRunning, try await connection.execute(last).int64(0, 0) < count {
        try await Task.sleep(for: .milliseconds(2))
      }
    }

    @Test(
      "ended in the middle, it has written a beginning of the file; the last run completes it", .timeLimit(.minutes(15))
    )
    func interrupted() async throws {
      try await IsolatedServer.with { server in
        let esctl = try EsctlRunner(server.database)
        defer { esctl.remove() }
        try writeRows(esctl)
        var written = 0
        for end in [
          End.signal(SIGKILL), .serverKilled, .signal(SIGINT), .signal(SIGKILL), .signal(SIGTERM), .serverKilled,
        ] {
          let importing = try esctl.start(Self.arguments)
          try await waitForRows(written + 1000, server, importing)
          try await Task.sleep(for: .milliseconds(.random(in: 0...20)))
          switch end {
          case .signal(SIGKILL):
            importing.signal(SIGKILL)
            _ = try await importing.output()
          case .signal(let number):
            importing.signal(number)
            let output = try await importing.output()
            #expect(output.status == 1 && output.standardError.contains("interrupted"), "\(output.standardError)")
          case .serverKilled:
            try await server.kill()
            let output = try await importing.output()
            #expect(output.status == 5 && output.standardError.contains("unavailable"), "\(output.standardError)")
            try await server.restart()
          }
          let now = try await beginning(esctl)
          #expect(now > written && now < Self.rows)
          written = now
        }
        let completed = try #require(await esctl(Self.arguments).lines.first)
        #expect(completed["added"] as? Int == Self.rows - written && completed["skipped"] as? Int == written)
        #expect(try await beginning(esctl) == Self.rows)
        #expect(try #require(await esctl(Self.arguments).lines.first)["added"] as? Int == 0)
      }
    }

    @Test("two imports of one file at once: every row once, in the order of the file in each stream", .database)
    func twoAtOnce() async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      try writeRows(esctl)
      #expect(try await esctl("keys", "init").status == 0)
      let outputs = try await esctl.outputs(of: [esctl.start(Self.arguments), esctl.start(Self.arguments)])
      #expect(outputs.map(\.status) == [0, 0], "\(outputs.map(\.standardError))")
      #expect(try outputs.compactMap { try $0.lines.first?["added"] as? Int }.reduce(0, +) == Self.rows)
      var last: [String: Int] = [:]
      var seen: Set<Int> = []
      for event in try await esctl("log", "--json").lines {
        let row = try #require((event["data"] as? [String: String])?["n"].flatMap { Int($0) })
        let stream = try #require(event["stream"] as? String)
        #expect(row > last[stream] ?? -1)
        last[stream] = row
        seen.insert(row)
      }
      #expect(seen.count == Self.rows)
    }

    @Test("ids of rows are a store's own: they tell nobody else what a row says; and the same each time", .database)
    func idsAreKeyed() async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      try "n,amount\n1,10\n2,20\n2,20\n".write(
        to: esctl.folder.appendingPathComponent("rows.csv"), atomically: true, encoding: .utf8)
      try "{\"n\":1}\n{\"n\":1}\n".write(
        to: esctl.folder.appendingPathComponent("rows.jsonl"), atomically: true, encoding: .utf8)
      var ids: [String] = []
      for schema in ["one", "two"] {
        #expect(try await esctl("migrate", "--schema", schema).status == 0)
        for (file, rows) in [("rows.csv", 3), ("rows.jsonl", 2)] {
          for added in [rows, 0] {
            let output = try await esctl(
              "import", file, "--stream", "a-{n}", "--type", "t", "--schema", schema, "--json")
            #expect(try output.lines.first?["added"] as? Int == added, "\(output)")
          }
        }
        ids += try await esctl("log", "--schema", schema, "--json").lines.compactMap { $0["id"] as? String }
      }
      #expect(ids.count == 10 && Set(ids).count == 10)
    }

    @Test("an exported event that would get another version stops the import there, or is left out", .database)
    func anotherVersion() async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      // In the second batch, so that rows before and behind it travel with it.
      let lines = (0..<2500).map { row in
        let version = row == 1237 ? 99999 : row / 5 + 1
        return
          "{\"id\":\"\(UUID())\",\"stream\":\"a-\(row % 5)\",\"version\":\(version),\"type\":\"t\",\"data\":\(row)}\n"
      }
      try lines.joined().write(
        to: esctl.folder.appendingPathComponent("events.jsonl"), atomically: true, encoding: .utf8)
      for added in [1237, 0] {
        let output = try await esctl("import", "events.jsonl")
        #expect(output.status == 65 && output.standardError.contains("line 1238: "), "\(output.standardError)")
        #expect(output.standardError.contains(added == 0 ? "0 events" : "1,237 events"))
      }
      func stored() async throws -> [Int?] { try await esctl("log", "--json").lines.map { $0["data"] as? Int } }
      #expect(try await stored() == Array(0..<1237))
      // What follows it in its stream does not fit either; the other streams are complete.
      let output = try await esctl("import", "events.jsonl", "--on-error", "skip", "--json")
      #expect(output.status == 65)
      #expect(output.standardError.split(separator: "\n").count == 253)
      #expect(try await stored() == (0..<2500).filter { $0 < 1237 || $0 % 5 != 1237 % 5 })
    }

    @Test("a member that nobody knows, as of a slip, stops the import: it would be lost", .database)
    func unknownMember() async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      let line = "{\"id\":\"\(UUID())\",\"stream\":\"a-1\",\"type\":\"t\",\"data\":1"
      try "\(line),\"meta\":{\"by\":\"me\"}}\n".write(
        to: esctl.folder.appendingPathComponent("events.jsonl"), atomically: true, encoding: .utf8)
      let output = try await esctl("import", "events.jsonl")
      #expect(
        output.status == 65 && output.standardError.contains("unknown member \"meta\""), "\(output.standardError)")
      #expect(try await esctl("log", "--json").lines.isEmpty)
    }

    @Test("an id that is in a file twice is refused there; another subject is not what is there", .database)
    func twiceInAFile() async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      let id = UUID()
      func line(_ stream: String, _ data: Int) -> String {
        "{\"id\":\"\(id)\",\"stream\":\"\(stream)\",\"type\":\"t\",\"data\":\(data)}\n"
      }
      let file = esctl.folder.appendingPathComponent("events.jsonl")
      try (line("a-1", 1) + line("b-1", 1) + line("a-1", 2)).write(to: file, atomically: true, encoding: .utf8)
      for _ in 0..<2 {
        let output = try await esctl("import", "events.jsonl")
        #expect(output.status == 65 && output.standardError.contains("line 3: "), "\(output.standardError)")
        #expect(try await esctl("log", "--json").lines.count == 2)
      }
      try "{\"account\":1,\"who\":\"Ada\"}\n".write(to: file, atomically: true, encoding: .utf8)
      let arguments = ["import", "events.jsonl"] + Self.mapping
      #expect(try await esctl(arguments).status == 0)
      #expect(try await esctl(arguments).status == 0)
      let other = try await esctl(arguments + ["--subject", "{who}"])
      #expect(other.status == 3 && other.standardError.contains("subject"), "\(other.standardError)")
      #expect(try await esctl("import", "events.jsonl", "--subject", "{who}").status == 64)
    }

    private static let mapping = ["--stream", "a-{account}", "--type", "t"]

    @Test("of a file that has changed, the rows that are new are added, wherever they stand", .database)
    func changed() async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      let file = esctl.folder.appendingPathComponent("rows.csv")
      func load(_ rows: [String], separator: String = ",", _ arguments: String...) async throws -> [String: Any] {
        try (["account,amount"] + rows).map { $0.replacing(",", with: separator) + "\n" }.joined()
          .write(to: file, atomically: true, encoding: .utf8)
        let output = try await esctl(
          ["import", "rows.csv", "--delimiter", separator, "--json"] + Self.mapping + arguments)
        #expect(output.status == 0, "\(output.standardError)")
        return try #require(try output.lines.first)
      }
      let rows = ["1,10", "2,20", "1,10", "1,10", "3,30"]
      var loaded = try await load(rows)
      #expect(loaded["added"] as? Int == 5)
      // One before all, one between, one of the same once more.
      loaded = try await load(["4,40"] + rows.prefix(2) + ["2,21", "1,10"] + rows.dropFirst(2))
      #expect(loaded["added"] as? Int == 3 && loaded["skipped"] as? Int == 5)
      // Rows that went do not come back, and those behind them stay what they were.
      loaded = try await load(Array(rows.dropFirst()))
      #expect(loaded["added"] as? Int == 0 && loaded["skipped"] as? Int == 4)
      // Neither quotes nor another delimiter make other rows of them.
      loaded = try await load(rows.map { "\"" + $0.replacing(",", with: "\",\"") + "\"" }, separator: ";")
      #expect(loaded["added"] as? Int == 0 && loaded["skipped"] as? Int == 5)
      let read = try await esctl("read", "a-1", "--json").lines.compactMap {
        ($0["data"] as? [String: String])?["amount"]
      }
      #expect(read == ["10", "10", "10", "10"])
      // The same rows of another source are other events.
      loaded = try await load(rows, "--source", "other")
      #expect(loaded["added"] as? Int == 5)
    }

    @Test("rows that are there as something else are refused, with their line; or left out", .database)
    func otherContent() async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      try "account,amount\n1,10\n2,20\n".write(
        to: esctl.folder.appendingPathComponent("rows.csv"), atomically: true, encoding: .utf8)
      #expect(try await esctl(["import", "rows.csv"] + Self.mapping).status == 0)
      let other = ["import", "rows.csv", "--stream", "a-{account}", "--type", "corrected"]
      var output = try await esctl(other + ["--json"])
      #expect(output.status == 3 && output.standardError.contains("\"line\":2"), "\(output.standardError)")
      output = try await esctl(other + ["--on-error", "skip"])
      #expect(output.status == 65 && output.standardError.contains("line 3:"), "\(output.standardError)")
      #expect(try await esctl("log", "--json").lines.count == 2)

      // So with what was exported.
      let exported = try await esctl("export").standardOutput
      let file = esctl.folder.appendingPathComponent("events.jsonl")
      try exported.write(to: file, atomically: true, encoding: .utf8)
      output = try await esctl("import", "events.jsonl")
      #expect(output.status == 0 && output.standardOutput.contains("0 events added, 2 were there already"))
      try exported.replacing("\"20\"", with: "\"21\"").write(to: file, atomically: true, encoding: .utf8)
      output = try await esctl("import", "events.jsonl")
      #expect(output.status == 3 && output.standardError.contains("line 2:"), "\(output.standardError)")
    }

    @Test("whose data it is comes back with an export", .database)
    func subjects() async throws {
      let database = try TestDatabase.required
      let esctl = try EsctlRunner(database)
      defer { esctl.remove() }
      for subject in [["--subject", "alice"], [], ["--subject", "bob"]] {
        #expect(try await esctl(["append", "a-1", "--type", "t", "--data", "{}"] + subject).status == 0)
      }
      #expect(try await esctl("export", "--output", "events.jsonl").status == 0)
      #expect(try await esctl("migrate", "--schema", "again").status == 0)
      #expect(try await esctl("import", "events.jsonl", "--schema", "again").status == 0)
      let subjects = try await database.column("SELECT subject FROM again.data_keys ORDER BY 1", as: String.self)
      #expect(subjects == ["a-1", "alice", "bob"])
    }
  }
}
