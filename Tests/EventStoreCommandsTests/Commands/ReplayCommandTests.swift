import Foundation
import TestSupport
import Testing

extension CommandLineTests {
  @Suite("replay, history and snapshots", .database)
  struct ReplayCommandTests {
    private static let model = """
      -- read model: balance
      -- version: 1
      CREATE TABLE balance (account text PRIMARY KEY, cents bigint NOT NULL);
      -- on: deposited
      INSERT INTO balance AS b SELECT stream, sum((data->>'cents')::bigint) FROM events GROUP BY stream
          ON CONFLICT (account) DO UPDATE SET cents = b.cents + excluded.cents;
      """

    private func withEsctl(_ body: (EsctlRunner) async throws -> Void) async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      for (version, cents) in [100, 250, 7].enumerated() {
        let appended = try await esctl(
          "append", "account-1", "--type", "deposited", "--data", "{\"cents\":\(cents),\"n\":{\"v\":\(version)}}",
          "--metadata", "{\"actor\":\"Ada\"}", "--expect", "\(version)")
        #expect(appended.status == 0, "\(appended.standardError)")
      }
      try Self.model.write(
        to: esctl.folder.appendingPathComponent("balance.sql"), atomically: true, encoding: .utf8)
      try await body(esctl)
    }

    private func code(_ output: EsctlRunner.Output) throws -> String {
      let error = try JSONSerialization.jsonObject(with: Data(output.standardError.utf8)) as? [String: Any]
      return try #require((error?["error"] as? [String: Any])?["code"] as? String)
    }

    @Test("states, steps and differences, as JSON and for people")
    func shown() async throws {
      try await withEsctl { esctl in
        let state = try await esctl("replay", "account-1", "--at-version", "2", "--json").lines.first
        #expect(state?["version"] as? Int == 2)
        #expect((state?["state"] as? [String: Any])?["cents"] as? Int == 250)
        let people = try await esctl("replay", "account-1").standardOutput
        #expect(people.contains("account-1 at version 3") && people.contains("cents  7"))

        let steps = try await esctl("replay", "account-1", "--steps", "--json").lines
        #expect(steps.map { $0["version"] as? Int } == [1, 2, 3])
        let changes = steps[1]["changes"] as? [[String: Any]]
        #expect(changes?.map { $0["field"] as? String } == ["cents", "n.v"])
        #expect(changes?[0]["before"] as? Int == 100 && changes?[0]["after"] as? Int == 250)

        let diff = try await esctl("replay", "account-1", "--diff", "1..3", "--json").lines.first
        #expect((diff?["changes"] as? [[String: Any]])?.count == 2)
        let rows = try await esctl("replay", "account-1", "--into", "balance.sql", "--diff", "0..3", "--json").lines
        let change = (rows.first?["changes"] as? [[String: Any]])?.first
        #expect(change?["before"] is NSNull && (change?["after"] as? [String: Any])?["cents"] as? Int == 357)

        #expect(
          try await esctl("replay", "--all", "--into", "balance.sql", "--json").standardOutput
            == "{\"table\":\"balance\",\"row\":{\"account\":\"account-1\",\"cents\":357}}\n")
        let table = try await esctl("replay", "--category", "account", "--into", "balance.sql").standardOutput
        #expect(table.contains("ACCOUNT") && table.contains("357"))
      }
    }

    @Test("history: who did what, and what it changed; followed as it grows")
    func history() async throws {
      try await withEsctl { esctl in
        let lines = try await esctl("history", "account-1", "--from", "2", "--json").lines
        #expect(lines.map { $0["version"] as? Int } == [2, 3] && lines[0]["who"] as? String == "Ada")
        #expect(try await esctl("history", "account-1").standardOutput.contains("cents 100 → 250"))
        let running = try esctl.start(["history", "account-1", "--follow", "--json"], input: nil)
        _ = try await esctl("append", "account-2", "--type", "deposited", "--data", "{\"cents\":1}")
        _ = try await esctl(
          "append", "account-1", "--type", "deposited", "--data", "{\"cents\":8}", "--metadata",
          "{\"actor\":\"Ada Lovelace\"}")
        while try running.printed.split(separator: "\n").count < 4 { try await Task.sleep(for: .milliseconds(10)) }
        running.signal(SIGINT)
        let output = try await running.output()
        #expect(output.status == 0)
        #expect(try output.lines.map { $0["version"] as? Int } == [1, 2, 3, 4])
        #expect(try await esctl("history", "account-9").status == 4)

        // The widest name comes last.
        let table = try await esctl("history", "account-1").standardOutput.split(separator: "\n")
        let column = try #require(table.first?.range(of: "WHAT CHANGED")).lowerBound.utf16Offset(in: table[0])
        #expect(table.count == 5)
        for line in table.dropFirst() { #expect(line.dropFirst(column).hasPrefix("cents"), "\(line)") }
      }
    }

    @Test("snapshots are built, listed, shown, verified and deleted, and change nothing")
    func snapshots() async throws {
      try await withEsctl { esctl in
        let before = try await esctl("replay", "account-1", "--at-version", "3", "--json").lines.first
        #expect(try await esctl("snapshots", "show", "account-1").status == 4)
        let built = try await esctl("snapshots", "build", "--category", "account", "--json").lines.first
        #expect(built?["built"] as? Int == 1)
        let again = try await esctl("snapshots", "build", "--all", "--json").lines.first
        #expect(again?["built"] as? Int == 0 && again?["upToDate"] as? Int == 1)
        let entry = try await esctl("snapshots", "list", "--json").lines.first
        #expect(entry?["stream"] as? String == "account-1" && entry?["version"] as? Int == 3)
        let shown = try await esctl("snapshots", "show", "account-1", "--json").lines.first
        #expect(shown?["state"] as? NSDictionary == before?["state"] as? NSDictionary)
        let verified = try await esctl("snapshots", "verify", "--all", "--json").lines.first
        #expect(verified?["same"] as? Int == 1)
        let after = try await esctl("replay", "account-1", "--at-version", "3", "--json").lines.first
        #expect(
          after?["eventsRead"] as? Int == 0 && after?["state"] as? NSDictionary == before?["state"] as? NSDictionary)
        #expect(try await esctl("snapshots", "delete", "--all", "--json").lines.first?["deleted"] as? Int == 1)
        #expect(try await esctl("snapshots", "list", "--json").standardOutput.isEmpty)
        #expect(try await esctl("snapshots", "build").status == 64)
        #expect(try await esctl("snapshots", "build", "account-9").status == 4)
      }
    }

    @Test("a damaged snapshot is found by verify, changes no result, and is replaced by build")
    func damagedSnapshot() async throws {
      let database = try TestDatabase.required
      try await withEsctl { esctl in
        _ = try await esctl("snapshots", "build", "--all")
        let before = try await esctl("replay", "account-1", "--at-version", "3", "--json").lines.first
        try await database.sql("UPDATE eventstore.snapshots SET data = set_byte(data, 30, get_byte(data, 30) # 1)")
        let verified = try await esctl("snapshots", "verify", "--all", "--json")
        #expect(verified.status == 1)
        #expect((try verified.lines.first?["different"] as? [[String: Any]])?.first?["version"] as? Int == 3)
        let after = try await esctl("replay", "account-1", "--at-version", "3", "--json").lines.first
        #expect(after?["state"] as? NSDictionary == before?["state"] as? NSDictionary)
        #expect(after?["eventsRead"] as? Int == 3)
        #expect(try await esctl("snapshots", "build", "--all", "--json").lines.first?["built"] as? Int == 1)
        #expect(try await esctl("snapshots", "verify", "--all").status == 0)
      }
    }

    @Test(
      "what cannot be replayed has its exit code and its name",
      arguments: [
        (["replay", "account-9"], 4, "notFound"),
        (["replay", "account-1", "--at-version", "4"], 4, "versionNotReached"),
        (["replay", "account-1", "--at-time", "1990-01-01"], 4, "notYet"),
        (["replay", "account-1", "--at-version", "4", "--into", "balance.sql"], 4, "versionNotReached"),
        (["replay", "account-1", "--at-time", "1990-01-01", "--into", "balance.sql"], 4, "notYet"),
        (["replay", "account-9", "--into", "balance.sql"], 4, "notFound"),
        (["replay", "account-1", "--diff", "1..9"], 4, "versionNotReached"),
        (["replay", "account-1", "--steps", "--at-version", "9"], 4, "versionNotReached"),
        (["replay", "--category", "order", "--into", "balance.sql"], 4, "notFound"),
        (["replay", "account-1", "--at-version", "0"], 64, "usage"),
        (["replay", "account-1", "--diff", "3..1"], 64, "usage"),
        (["replay", "account-1", "--at-time", "yesterday"], 64, "usage"),
        (["replay"], 64, "usage"),
        (["replay", "--all"], 64, "usage"),
        (["replay", "account-1", "--all", "--into", "balance.sql"], 64, "usage"),
        (["replay", "account-1", "--into", "missing.sql"], 65, "badInput"),
        (["replay", "account-1", "--into", "syntax.sql"], 65, "readModel"),
        (["replay", "account-1", "--into", "stranger.sql"], 65, "foreignTable"),
        (["replay", "account-1", "--into", "lacking.sql"], 65, "unhandledType"),
        (["replay", "--all", "--into", "failing.sql"], 65, "readModelApply"),
        (["replay", "account-1", "--into", "binary.sql"], 65, "badInput"),
      ])
    func failures(arguments: [String], status: Int32, name: String) async throws {
      try await withEsctl { esctl in
        for (file, text) in [
          "syntax.sql": Self.model.replacing("INSERT INTO", with: "INSRT INTO"),
          "stranger.sql": Self.model.replacing("FROM events", with: "FROM events, eventstore.streams"),
          "lacking.sql": Self.model.replacing("on: deposited", with: "on: withdrawn"),
          "failing.sql": Self.model.replacing("'cents')", with: "'n')"),
        ] {
          try text.write(to: esctl.folder.appendingPathComponent(file), atomically: true, encoding: .utf8)
        }
        try Data([0xFF, 0xFE, 0x00]).write(to: esctl.folder.appendingPathComponent("binary.sql"))
        let output = try await esctl(arguments + ["--json"])
        #expect(output.status == status, "\(output.standardError)")
        #expect(try code(output) == name, "\(output.standardError)")
        #expect(output.standardOutput.isEmpty)
        #expect(try await esctl("log", "--json").lines.count == 3)
      }
    }
  }
}
