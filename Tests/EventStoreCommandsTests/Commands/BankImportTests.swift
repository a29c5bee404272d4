import Foundation
import TestSupport
import Testing

/// Real bank transactions, which lie beside the project where it is developed and checked.
private let bank = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().appendingPathComponent("shared/data/bank-transactions.csv")

extension CommandLineTests {
  @Suite("Importing a bank's transactions", .database, .enabled(if: FileManager.default.fileExists(atPath: bank.path)))
  struct BankImportTests {
    private static let mapping = [
      "--format", "csv", "--delimiter", ";", "--stream", "account-{account_id}", "--type", "{type}", "--time", "{date}",
      "--time-format", "yyMMdd", "--json",
    ]

    private struct Row {
      let columns: [String: String]
      var account: String { columns["account_id"] ?? "" }
    }

    /// The file, read in another way than the product does.
    private static func rows() throws -> [Row] {
      let lines = try String(contentsOf: bank, encoding: .utf8).split(whereSeparator: \.isNewline).map { line in
        line.split(separator: ";", omittingEmptySubsequences: false).map { String($0).replacing("\"", with: "") }
      }
      return lines.dropFirst().map { Row(columns: Dictionary(uniqueKeysWithValues: zip(lines[0], $0))) }
    }

    private func load(_ esctl: EsctlRunner) async throws -> [String: Any] {
      let process = try await esctl(["import", bank.path] + Self.mapping)
      #expect(process.status == 0, "\(process.standardError)")
      return try #require(try process.lines.first)
    }

    @Test("every row is one event, in file order, with every column; a second import adds nothing")
    func everyRow() async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      let rows = try Self.rows()
      #expect(rows.count == 3415)
      #expect(try await load(esctl)["added"] as? Int == rows.count)

      let events = try await esctl("log", "--json").lines
      #expect(events.count == rows.count)
      var versions: [String: Int] = [:]
      var balances: [String: Decimal] = [:]
      for (event, row) in zip(events, rows) {
        let stream = "account-\(row.account)"
        versions[stream, default: 0] += 1
        #expect(event["stream"] as? String == stream)
        #expect(event["version"] as? Int == versions[stream])
        #expect(event["type"] as? String == row.columns["type"])
        #expect(event["data"] as? [String: String] == row.columns)
        let sign: Decimal = row.columns["type"] == "PRIJEM" ? 1 : -1
        balances[stream, default: 0] += sign * (Decimal(string: row.columns["amount"] ?? "") ?? .nan)
        #expect(balances[stream] == Decimal(string: row.columns["balance"] ?? ""))
      }
      let again = try await load(esctl)
      #expect(again["added"] as? Int == 0 && again["skipped"] as? Int == rows.count)

      let account = try #require(rows.first).account
      let mine = try await esctl("read", "account-\(account)", "--json").lines
      #expect(mine.map { $0["data"] as? [String: String] } == rows.filter { $0.account == account }.map(\.columns))
    }

    @Test("an import that was killed goes on where it stopped", arguments: [SIGKILL, SIGINT, SIGTERM])
    func killed(signal: Int32) async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      for delay in [60, 120, 200] {
        try await esctl.killed(["import", bank.path] + Self.mapping, after: .milliseconds(delay), with: signal)
      }
      _ = try await load(esctl)
      let rows = try Self.rows()
      let events = try await esctl("log", "--json").lines
      #expect(events.map { ($0["data"] as? [String: String])?["trans_id"] } == rows.map { $0.columns["trans_id"] })
    }

    @Test("export and import into an empty store give the same events")
    func exported() async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      _ = try await load(esctl)
      _ = try await esctl(
        "append", "note-1", "--type", "note.taken", "--data", "{ \"text\" : \"a\\nb\" }", "--metadata",
        "{\"by\":\"me\"}")
      let events = try await esctl("log", "--json").standardOutput
      #expect(try await esctl("export", "--output", "events.jsonl").status == 0)
      #expect(try await esctl("migrate", "--schema", "second").status == 0)
      #expect(try await esctl("import", "events.jsonl", "--schema", "second").status == 0)
      #expect(try await esctl("log", "--json", "--schema", "second").standardOutput == events)
    }
  }
}
