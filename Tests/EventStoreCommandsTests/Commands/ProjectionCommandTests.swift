import Foundation
import TestSupport
import Testing

private let project = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
private let bank = project.deletingLastPathComponent().appendingPathComponent("shared/data/bank-transactions.csv")
private let first = project.appendingPathComponent("Examples/balance.sql").path
private let second = project.appendingPathComponent("Examples/balance-v2.sql").path

extension CommandLineTests {
  @Suite("esctl projections", .database, .timeLimit(.minutes(15)))
  struct ProjectionCommandTests {
    private func append(_ esctl: EsctlRunner, _ account: Int, _ amount: String, type: String = "PRIJEM") async throws {
      let output = try await esctl(
        "append", "account-\(account)", "--type", type, "--data", "{\"amount\":\"\(amount)\"}")
      #expect(output.status == 0, "\(output.standardError)")
    }

    private func status(_ esctl: EsctlRunner) async throws -> [[String: Any]] {
      try await esctl("projections", "list", "--json").lines
    }

    @Test("the whole life of a read model, by commands; and every command's refusals")
    func life() async throws {
      let database = try TestDatabase.required
      let esctl = try EsctlRunner(database)
      defer { esctl.remove() }
      try await append(esctl, 1, "12.50")
      try await append(esctl, 2, "7.25")
      let checked = try await esctl("projections", "check", first, "--json")
      #expect(checked.status == 0 && checked.standardOutput.contains("\"tables\":[\"balance\"]"))
      #expect(checked.standardOutput.contains("\"type\":\"VYBER\""))
      let warned = try await esctl("projections", "run", first, "--until-caught-up")
      #expect(warned.status == 0 && warned.standardError.contains("no event of type VYBER"))
      #expect(try await status(esctl).first?["role"] as? String == "live")
      let balances = "SELECT sum(balance)::text FROM eventstore_views.balance"
      #expect(try await database.column(balances) == ["19.75"])

      try await append(esctl, 1, "0.25")
      let late = try await esctl("projections", "wait", "balance", "--timeout", "0.1", "--json")
      #expect(late.status == 8 && late.standardError.contains("\"code\":\"timedOut\""))
      let rebuilt = try await esctl("projections", "rebuild", "balance", "--file", second, "--json")
      #expect(rebuilt.status == 0, "\(rebuilt.standardError)")
      #expect(try rebuilt.lines.first?["applied"] as? Int == 3)
      let compared = try await esctl("projections", "compare", "balance", "--json")
      #expect(compared.status == 7)
      let table = try #require((try compared.lines.first?["tables"] as? [[String: Any]])?.first)
      #expect(table["columnsOnlyInNew"] as? [String] == ["months"] && table["rowsThatDiffer"] as? Int == 0)
      #expect(try await esctl("projections", "switch", "balance").status == 0)
      #expect(try await database.column(balances) == ["20.00"])
      #expect(try await esctl("projections", "rollback", "balance").status == 0)
      #expect(try await esctl("projections", "switch", "balance").status == 0)
      #expect(try await esctl("projections", "retire", "balance").status == 0)
      #expect(try await status(esctl).count == 1)
      let shown = try await esctl("projections", "show", "balance", "--source")
      #expect(shown.standardOutput == (try String(contentsOfFile: second, encoding: .utf8)))
      #expect(try await esctl("projections", "rebuild", "balance", "--auto").status == 0)
      #expect(try await esctl("projections", "compare", "balance", "--previous").status == 0)

      let refusals: [([String], Int32, String)] = [
        (["switch", "balance"], 4, "noBuild"), (["abandon", "balance"], 4, "noBuild"),
        (["compare", "balance"], 4, "noBuild"), (["show", "other"], 4, "notFound"), (["wait", "other"], 4, "notFound"),
        (["rebuild", "other"], 4, "notFound"), (["rebuild", "balance", "--file", first], 65, "versionGoesBack"),
        (["rebuild", "balance", "--auto"], 3, "exists"), (["run", first], 65, "versionGoesBack"),
        (["run", "/nowhere.sql"], 65, "badInput"), (["run", "--only", "other"], 4, "notFound"),
        (["reset", "balance"], 64, "usage"), (["skipped", "retry", "balance"], 64, "usage"),
        (["skipped", "show", "balance", "7"], 4, "notFound"), (["status", "--interval", "0"], 64, "usage"),
        (["run", "--workers", "0"], 64, "usage"), (["compare", "balance", "--samples", "-1"], 64, "usage"),
      ]
      let before = try await status(esctl).map { "\($0["build"] ?? "") \($0["role"] ?? "")" }
      for (arguments, code, name) in refusals {
        let output = try await esctl(["projections"] + arguments + ["--json"])
        #expect(output.status == code, "\(arguments): \(output.standardOutput) \(output.standardError)")
        #expect(output.standardError.contains("\"code\":\"\(name)\""), "\(arguments): \(output.standardError)")
      }
      #expect(try await status(esctl).map { "\($0["build"] ?? "") \($0["role"] ?? "")" } == before)
      #expect(try await esctl("projections", "reset", "balance", "--yes").status == 0)
      #expect(try await esctl("projections", "run", "--until-caught-up").status == 0)
      #expect(try await database.column(balances) == ["20.00"])
    }

    @Test("a projection that stops: status, exit codes, resume; one that skips: list, show, retry")
    func stops() async throws {
      let database = try TestDatabase.required
      let esctl = try EsctlRunner(database)
      defer { esctl.remove() }
      try await append(esctl, 1, "5")
      try await append(esctl, 1, "-98765.43")
      let file = esctl.folder.appendingPathComponent("m.sql")
      for (policy, name) in [("stop", "stopping"), ("skip", "skipping")] {
        try """
        -- read model: \(name)
        -- version: 1
        -- on error: \(policy)
        CREATE TABLE \(name) (position bigint PRIMARY KEY, amount numeric CHECK (amount > 0));
        -- on: PRIJEM
        INSERT INTO \(name) SELECT position, (data->>'amount')::numeric FROM events;
        """.write(to: file, atomically: true, encoding: .utf8)
        _ = try await esctl("projections", "run", file.path, "--only", name, "--until-caught-up")
      }
      let status = try await esctl("projections", "status")
      #expect(
        status.status == 1
          && status.standardOutput.contains("stopping version 1 has stopped: event PRIJEM, account-1 version 2"))
      #expect(!status.standardOutput.contains("98765"))
      let listed = try await esctl("projections", "skipped", "list", "--json")
      #expect(try listed.lines.map { $0["stream"] as? String } == ["account-1"])
      let shown = try await esctl("projections", "skipped", "show", "skipping", "2", "--json")
      #expect(shown.status == 0 && shown.standardOutput.contains("\"amount\":\"-98765.43\""))
      #expect(try await esctl("projections", "skipped", "retry", "skipping", "--all").status == 1)
      for line in try await self.status(esctl) {
        let (name, build) = (line["name"] as? String ?? "", line["build"] as? Int ?? 0)
        try await database.sql(
          "ALTER TABLE eventstore_\(name)_\(build).\(name) DROP CONSTRAINT \(name)_amount_check")
      }
      #expect(try await esctl("projections", "skipped", "retry", "skipping", "--position", "2").status == 0)
      #expect(try await esctl("projections", "resume", "stopping").status == 0)
      #expect(try await esctl("projections", "run", "--until-caught-up").status == 0)
      #expect(try await database.column("SELECT count(*)::text FROM eventstore_views.stopping") == ["2"])
      #expect(try await database.column("SELECT count(*)::text FROM eventstore_views.skipping") == ["2"])
    }

    @Test("what comes from data does not reach the terminal as it is: failures, skipped events, samples")
    func printable() async throws {
      let database = try TestDatabase.required
      let esctl = try EsctlRunner(database)
      defer { esctl.remove() }
      let evil = "\u{202E}31m"
      let output = try await esctl(
        "append", "account-\(evil)", "--type", "made\(evil)", "--data", "{\"name\":\"\u{9B}\(evil)\"}")
      #expect(output.status == 0, "\(output.standardError)")
      let file = esctl.folder.appendingPathComponent("m.sql")
      for (policy, name) in [("stop", "stopping"), ("skip", "skipping")] {
        try """
        -- read model: \(name)
        -- version: 1
        -- on error: \(policy)
        CREATE TABLE \(name) (stream text PRIMARY KEY CHECK (stream = ''));
        -- on: others
        INSERT INTO \(name) SELECT stream FROM events;
        """.write(to: file, atomically: true, encoding: .utf8)
        _ = try await esctl("projections", "run", file.path, "--only", name, "--until-caught-up")
      }
      try """
      -- read model: names
      -- version: 1
      CREATE TABLE names (stream text PRIMARY KEY, version bigint);
      -- on: others
      INSERT INTO names SELECT stream, version FROM events;
      """.write(to: file, atomically: true, encoding: .utf8)
      _ = try await esctl("projections", "run", file.path, "--only", "names", "--until-caught-up")
      #expect(try await esctl("projections", "rebuild", "names").status == 0)
      let build = try await database.number("SELECT max(build) FROM eventstore.projection_builds")
      try await database.sql("UPDATE eventstore_names_\(build).names SET version = 7")
      for arguments in [
        ["status"], ["show", "stopping"], ["skipped", "list"], ["skipped", "show", "skipping", "1"],
        ["compare", "names"],
      ] {
        let output = try await esctl(["projections"] + arguments)
        #expect(output.standardOutput.contains("31m"), "\(arguments): \(output.standardOutput.debugDescription)")
        let scalars = output.standardOutput.unicodeScalars
        #expect(
          scalars.allSatisfy {
            $0 == "\n" || ($0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) && $0 != "\u{202E}")
          },
          "\(arguments): \(output.standardOutput.debugDescription)")
      }
    }

    @Test("an event that two builds have skipped is found for both, also where a page of the list ends between them")
    func skippedTwice() async throws {
      let database = try TestDatabase.required
      let esctl = try EsctlRunner(database)
      defer { esctl.remove() }
      try await append(esctl, 1, "5")
      _ = try await esctl("projections", "run", first, "--until-caught-up")
      #expect(try await esctl("projections", "rebuild", "balance").status == 0)
      try await database.sql(
        """
        INSERT INTO eventstore.projection_skipped (build, position, stream, version, type, event_id, problem)
        SELECT b.build, p.position, 'account-1', 1, 'PRIJEM', gen_random_uuid(), 'none'
          FROM eventstore.projection_builds b, generate_series(1, 1100) AS p (position)
         WHERE b.role = 'live' OR p.position > 1;
        """)
      // The page's 1000 end behind the first of the two at this position.
      for position in [1, 500, 501, 502, 1100] {
        let shown = try await esctl("projections", "skipped", "show", "balance", "\(position)", "--json")
        #expect(try shown.lines.count == (position == 1 ? 1 : 2), "\(position): \(shown.standardError)")
      }
    }

    @Test("runners killed by SIGKILL, one after the other, and two at once: the model is what was appended")
    func killed() async throws {
      let database = try TestDatabase.required
      let esctl = try EsctlRunner(database)
      defer { esctl.remove() }
      let rows = (0..<2000).map { "{\"stream\":\"account-\($0 % 37)\",\"type\":\"PRIJEM\",\"amount\":\"\($0).01\"}" }
      let file = esctl.folder.appendingPathComponent("rows.jsonl")
      try rows.joined(separator: "\n").write(to: file, atomically: true, encoding: .utf8)
      #expect(try await esctl("projections", "run", first, "--until-caught-up").status == 0)
      async let imported = esctl("import", file.path, "--format", "jsonl", "--stream", "{stream}", "--type", "{type}")
      for _ in 0..<6 {
        async let other: Void = esctl.killed(
          ["projections", "run"], after: .milliseconds(Int.random(in: 50...500)), with: SIGKILL)
        try await esctl.killed(["projections", "run"], after: .milliseconds(Int.random(in: 50...500)), with: SIGKILL)
        try await other
      }
      #expect(try await imported.status == 0)
      #expect(try await esctl("projections", "run", "--until-caught-up").status == 0)
      #expect(
        try await database.column("SELECT sum(transactions) || ' ' || sum(balance) FROM eventstore_views.balance")
          == ["2000 1999020.00"])
    }

    @Test(
      "the bank: version 1 live, version 2 rebuilt, compared, switched and rolled back, while a writer appends and a reader polls",
      .enabled(if: FileManager.default.fileExists(atPath: bank.path)))
    func bankSwitch() async throws {
      let database = try TestDatabase.required
      let esctl = try EsctlRunner(database)
      defer { esctl.remove() }
      let imported = try await esctl(
        "import", bank.path, "--format", "csv", "--delimiter", ";", "--stream", "account-{account_id}", "--type",
        "{type}", "--time", "{date}", "--time-format", "yyMMdd")
      #expect(imported.status == 0)
      let runner = try esctl.start(["projections", "run", first])
      let exists =
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'eventstore_views'"
      while try await database.number(exists) == 0 {
        try await Task.sleep(for: .milliseconds(20))
      }
      func total() async throws -> Decimal? {
        let sums = try await database.column(
          "SELECT sum(balance)::text FROM eventstore_views.balance WHERE account <> 'account-new'", as: String.self)
        return sums.first.flatMap { Decimal(string: $0) }
      }
      let expected = try #require(try await total())
      let reads = try await withThrowingTaskGroup(of: Int.self) { group in
        group.addTask {
          var reads = 0
          var last = Decimal(-1)
          while !Task.isCancelled {
            let sums: [String] = try await Task {
              try await database.column(
                """
                SELECT coalesce(sum(balance) FILTER (WHERE account <> 'account-new'), 0) || ' '
                       || coalesce(sum(balance) FILTER (WHERE account = 'account-new'), 0) FROM eventstore_views.balance
                """)
            }.value
            let parts = sums[0].split(separator: " ").compactMap { Decimal(string: String($0)) }
            #expect(parts[0] == expected && parts[1] >= last)
            last = parts[1]
            reads += 1
            try? await Task.sleep(for: .milliseconds(10))
          }
          return reads
        }
        group.addTask {
          var count = 0
          while !Task.isCancelled {
            let output = try await Task {
              try await esctl("append", "account-new", "--type", "PRIJEM", "--data", "{\"amount\":\"1.00\"}")
            }.value
            #expect(output.status == 0, "\(output.standardError)")
            count += 1
          }
          return count
        }
        #expect(try await esctl("projections", "rebuild", "balance", "--file", second).status == 0)
        let compared = try await esctl("projections", "compare", "balance")
        #expect(
          compared.status == 7 && compared.standardOutput.contains("rows: the same in the columns that both have"))
        #expect(compared.standardOutput.contains("column months: only in new"))
        #expect(try await esctl("projections", "switch", "balance").status == 0)
        try await Task.sleep(for: .milliseconds(200))
        #expect(try await esctl("projections", "rollback", "balance").status == 0)
        #expect(try await esctl("projections", "wait", "balance").status == 0)
        group.cancelAll()
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(reads.allSatisfy { $0 > 5 }, "\(reads)")
      runner.signal(SIGTERM)
      #expect(try await runner.output().status == 0)
      #expect(try await total() == expected)
    }
  }
}
