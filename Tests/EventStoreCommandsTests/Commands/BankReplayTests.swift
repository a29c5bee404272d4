import Foundation
import TestSupport
import Testing

/// Real bank transactions, and the read model that ships as an example.
private let project = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
private let bank = project.deletingLastPathComponent().appendingPathComponent("shared/data/bank-transactions.csv")
private let model = project.appendingPathComponent("Examples/balance.sql").path

extension CommandLineTests {
  @Suite(
    "Replaying a bank's transactions", .database, .enabled(if: FileManager.default.fileExists(atPath: bank.path)))
  struct BankReplayTests {
    private struct Transaction {
      let date: String
      let balance: Decimal
    }

    /// The bank's own balances, by account.
    private static func accounts() throws -> [String: [Transaction]] {
      var accounts: [String: [Transaction]] = [:]
      for line in try String(contentsOf: bank, encoding: .utf8).split(whereSeparator: \.isNewline).dropFirst() {
        let columns = line.split(separator: ";", omittingEmptySubsequences: false)
          .map { String($0).replacing("\"", with: "") }
        let date = "19\(columns[2].prefix(2))-\(columns[2].dropFirst(2).prefix(2))-\(columns[2].suffix(2))"
        accounts["account-\(columns[1])", default: []]
          .append(Transaction(date: date, balance: try #require(Decimal(string: columns[6]))))
      }
      return accounts
    }

    private func withBank(_ body: (EsctlRunner, [String: [Transaction]]) async throws -> Void) async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      let imported = try await esctl(
        "import", bank.path, "--format", "csv", "--delimiter", ";", "--stream", "account-{account_id}", "--type",
        "{type}", "--time", "{date}", "--time-format", "yyMMdd")
      #expect(imported.status == 0, "\(imported.standardError)")
      try await body(esctl, try Self.accounts())
    }

    /// The text of the number, never a Double.
    private func balance(_ line: some StringProtocol) throws -> Decimal {
      let rest = try #require(line.range(of: "\"balance\":"))
      return try #require(Decimal(string: String(line[rest.upperBound...].prefix { $0 != "," && $0 != "}" })))
    }

    private func balances(_ output: EsctlRunner.Output) throws -> [String: Decimal] {
      #expect(output.status == 0, "\(output.standardError)")
      var balances: [String: Decimal] = [:]
      for line in output.standardOutput.split(separator: "\n") {
        let start = try #require(line.range(of: "\"account\":\""))
        balances[String(line[start.upperBound...].prefix { $0 != "\"" })] = try balance(line)
      }
      return balances
    }

    @Test("every account's balance after every transaction, as a step and as a version")
    func everyVersion() async throws {
      try await withBank { esctl, accounts in
        var versions = 0
        for (number, (account, transactions)) in accounts.sorted(by: { $0.key < $1.key }).enumerated() {
          let steps = try await esctl("replay", account, "--into", model, "--steps", "--json")
          let lines = steps.standardOutput.split(separator: "\n")
          #expect(lines.count == transactions.count)
          for (line, transaction) in zip(lines, transactions) {
            let after = try #require(line.range(of: "\"after\":"))
            #expect(try balance(line[after.upperBound...]) == transaction.balance)
            versions += 1
          }
          guard number % 10 == 0 else { continue }
          let version = Int.random(in: 1...transactions.count)
          let then = try await esctl("replay", account, "--into", model, "--at-version", "\(version)", "--json")
          #expect(try balances(then) == [account: transactions[version - 1].balance])
        }
        #expect(versions == 3415)
      }
    }

    @Test("all final balances in one go; those of any day")
    func wholeLog() async throws {
      try await withBank { esctl, accounts in
        let all = try balances(await esctl("replay", "--all", "--into", model, "--json"))
        #expect(all == accounts.compactMapValues { $0.last?.balance } && all.count == 200)
        #expect(try balances(await esctl("replay", "--category", "account", "--into", model, "--json")) == all)
        for day in ["1993-01-21", "1993-07-31", "1994-02-28"] {
          let found = try balances(await esctl("replay", "--all", "--into", model, "--at-time", day, "--json"))
          #expect(
            found == accounts.compactMapValues { transactions in transactions.last { $0.date <= day }?.balance })
          for account in found.keys.sorted().prefix(10) {
            let one = try balances(
              await esctl("replay", account, "--into", model, "--at-time", day, "--json"))
            #expect(one[account] == found[account])
          }
        }
      }
    }

    @Test("the latest fields at any version, with snapshots and without")
    func latestFields() async throws {
      try await withBank { esctl, accounts in
        let (account, transactions) = try #require(accounts.max { $0.value.count < $1.value.count })
        func stored(_ version: Int) async throws -> String {
          let line = try #require(
            try await esctl("replay", account, "--at-version", "\(version)", "--json").lines.first)
          let state = try #require(line["state"] as? [String: Any])
          #expect(line["version"] as? Int == version)
          return try #require(state["balance"] as? String)
        }
        let plain = try await (1...transactions.count).asyncMap { try await stored($0) }
        #expect(plain.map { Decimal(string: $0) } == transactions.map(\.balance))
        let built = try await esctl("snapshots", "build", account, "--json").lines.first
        #expect(built?["built"] as? Int == 1)
        #expect(try await (1...transactions.count).asyncMap { try await stored($0) } == plain)
        let last = try #require(try await esctl("replay", account, "--json").lines.first)
        #expect(last["eventsRead"] as? Int == 0 && last["snapshotVersion"] as? Int == transactions.count)
      }
    }
  }
}

extension Sequence {
  fileprivate func asyncMap<R>(_ transform: (Element) async throws -> R) async rethrows -> [R] {
    var results: [R] = []
    for element in self { results.append(try await transform(element)) }
    return results
  }
}
