import Foundation
import TestSupport
import Testing

extension CommandLineTests {
  @Suite("Exit codes and messages", .database)
  struct ExitCodeTests {
    private func withEsctl(_ body: (inout EsctlRunner) async throws -> Void) async throws {
      var esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      try await body(&esctl)
    }

    @Test("3: another version than expected; the store is as it was")
    func conflict() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        let append = ["append", "account-1", "--type", "t", "--data", "{}", "--json"]
        #expect(try await esctl(append + ["--expect", "none"]).status == 0)
        let late = try await esctl(append + ["--expect", "none"])
        #expect(late.status == 3)
        let error = try #require(
          try JSONSerialization.jsonObject(with: Data(late.standardError.utf8)) as? [String: Any])
        #expect((error["error"] as? [String: Any])?["actual"] as? Int == 1)
        #expect(try await esctl("read", "account-1", "--json").lines.count == 1)
      }
    }

    @Test("the same id again is the same event; with other content it is refused")
    func retry() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        let id = UUID().uuidString
        let append = ["append", "account-1", "--type", "t", "--id", id, "--expect", "0", "--json", "--data"]
        #expect(try await esctl(append + ["{\"a\":1}"]).status == 0)
        let again = try await esctl(append + ["{\"a\":1}"])
        #expect(again.status == 0)
        #expect(try again.lines.first?["duplicate"] as? Bool == true)
        #expect(try await esctl(append + ["{\"a\":2}"]).status == 3)
        #expect(try await esctl("read", "account-1", "--json").lines.count == 1)
      }
    }

    @Test("4: no such stream")
    func notFound() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        #expect(try await esctl("read", "account-404").status == 4)
        #expect(try await esctl("stream", "account-404").status == 4)
      }
    }

    @Test("5: no server")
    func unavailable() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        esctl.environment["EVENTSTORE_URL"] = "host=/nowhere dbname=none"
        let output = try await esctl("append", "account-1", "--type", "t", "--data", "{}")
        #expect(output.status == 5)
        #expect(output.standardError.contains("unavailable"))
      }
    }

    @Test("5 or 6: a process that may open few files says so")
    func fewDescriptors() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        for most in 9...16 {
          let output = try await esctl.shell("ulimit -n \(most); esctl log")
          let isRefused = [5, 6].contains(output.status) && output.standardError.contains("Too many open files")
          #expect(output.status == 0 || isRefused, "\(most): \(output.status) \(output.standardError)")
        }
      }
    }

    @Test("6: another master key is refused before anything is written; a keyring that others can read, always")
    func keys() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        #expect(try await esctl("append", "account-1", "--type", "t", "--data", "{}").status == 0)
        let keyring = try #require(esctl.environment["EVENTSTORE_KEYRING"])
        esctl.environment["EVENTSTORE_KEYRING"] = keyring + ".other"
        #expect(
          try await esctl("append", "account-1", "--type", "t", "--data", "{}").status == 6, "no keyring, sealed store")
        #expect(try await esctl("keys", "init").status == 0)
        let wrong = try await esctl("append", "account-1", "--type", "t", "--data", "{}")
        #expect(wrong.status == 6 && wrong.standardError.contains("mk_"))
        let unreadable = try await esctl("read", "account-1", "--json")
        #expect(unreadable.status == 6)
        let error = try #require(try unreadable.lines.first?["error"] as? [String: Any])
        #expect(error["code"] as? String == "masterKeyMissing")
        #expect(try await esctl("streams", "--json").lines.count == 1, "what needs no payload goes on working")

        esctl.environment["EVENTSTORE_KEYRING"] = keyring
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: keyring)
        let exposed = try await esctl("append", "account-1", "--type", "t", "--data", "{}")
        #expect(exposed.status == 6 && exposed.standardError.contains("chmod 600"))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: keyring)
        #expect(try await esctl("read", "account-1", "--json").lines.count == 1)
      }
    }

    @Test(
      "64: wrong usage",
      arguments: [
        ["append", "account-1"], ["append", "account-1", "--type", "t", "--data", "{}", "--expect", "soon"],
        ["append", "-1", "--type", "t", "--data", "{}"], ["read", "account-1", "--from", "0"], ["nonsense"],
        ["read", "account-1", "--until", "yesterday"], ["log", "--after", "x"],
      ])
    func usage(arguments: [String]) async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        let output = try await esctl(arguments)
        #expect(output.status == 64, "\(output.standardError)")
      }
    }

    @Test(
      "help is there for every command, with examples",
      arguments: [
        "up", "down", "status", "migrate", "append", "import", "export", "read", "log", "streams", "stream", "bench",
        "doctor",
        "demo", "version",
      ])
    func help(command: String) async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        let output = try await esctl(command, "--help")
        #expect(output.status == 0 && output.standardOutput.contains("USAGE: esctl \(command)"))
        #expect(output.standardOutput.contains("Example"))
      }
    }

    @Test("64: a variable that is neither on nor off")
    func switches() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        // As of a variable that is not set.
        #expect(try await esctl("status", "--url", "").status == 64)
        for (value, status) in [("on", 0), ("off", 0), ("false", 64)] {
          esctl.environment["EVENTSTORE_PREPARED_STATEMENTS"] = value
          #expect(try await esctl("append", "p-1", "--type", "t", "--data", "1").status == status, "\(value)")
        }
      }
    }

    @Test("65: input that is no event; nothing is written")
    func badInput() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        #expect(try await esctl("append", "account-1", "--type", "t", "--data", "{\"a\":").status == 65)
        #expect(try await esctl("append", "account-1", "--type", "t", "--data", "{}", "--metadata", "[]").status == 65)
        let large = "\"" + String(repeating: "x", count: 100_000_000) + "\""
        let refused = try await esctl("append", "account-1", "--type", "t", "--data", "-", input: large)
        #expect(refused.status == 65 && refused.standardError.contains("16777216"))
        #expect(try await esctl("import", "missing.csv", "--stream", "a-{b}", "--type", "t").status == 65)
        #expect(try await esctl("streams", "--json").standardOutput.isEmpty)
      }
    }

    @Test("a bad row stops an import with its line, or is left out")
    func badRow() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        let file = esctl.folder.appendingPathComponent("rows.csv")
        try "id,name\n1,a\n2\n3,c\n".write(to: file, atomically: true, encoding: .utf8)
        let arguments = ["import", "rows.csv", "--stream", "row-{id}", "--type", "row"]
        let stopped = try await esctl(arguments)
        #expect(stopped.status == 65 && stopped.standardError.contains("line 3"))
        #expect(try await esctl("log", "--json").lines.count == 1)
        let skipped = try await esctl(arguments + ["--on-error", "skip"])
        #expect(skipped.status == 65 && skipped.standardError.contains("line 3"))
        #expect(try await esctl("log", "--json").lines.count == 2)
        let told = try await esctl(arguments + ["--on-error", "skip", "--json"])
        #expect(told.standardError.contains(#""code":"badRow""#) && told.standardError.contains(#""line":3"#))
      }
    }
  }
}
