import EventStore
import FoundationEssentials

/// `esctl import` of a CSV file, the start of the process included.
struct CommandImport: Contestant {
  let stage: Stage
  let esctl: String
  let file: String
  let rows: Int

  private static let schema = "benchmarks_import"

  func prepareRound() async throws { _ = try await stage.store(Self.schema) }

  func run(for duration: Duration) async throws -> Sample {
    try await sideBySide(1, for: duration) { [self] _, _ in
      let output = try await ChildProcess.run(
        esctl,
        [
          "import", file, "--format", "csv", "--delimiter", ";", "--stream", "account-{account_id}", "--type", "{type}",
          "--time", "{date}", "--time-format", "unix", "--json",
        ],
        [
          "EVENTSTORE_URL": stage.url, "EVENTSTORE_SCHEMA": Self.schema, "EVENTSTORE_KEYRING": stage.keyringPath,
          "EVENTSTORE_MASTER_KEY": nil, "EVENTSTORE_MASTER_KEY_COMMAND": nil, "EVENTSTORE_PLAINTEXT_CATEGORIES": nil,
        ])
      struct Summary: Decodable { let added: Int }
      let added = try JSONDecoder().decode(Summary.self, from: Data(output.utf8)).added
      guard added == rows else { throw Problem("esctl imported \(added) rows, not \(rows)") }
      return Tally(events: rows)
    }
  }
}
