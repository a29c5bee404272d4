import Foundation
import TestSupport
import Testing

extension CommandLineTests {
  @Suite("Where keys come from", .database)
  struct KeySourceTests {
    private static let append = ["append", "a-1", "--type", "t", "--data", "{}"]

    private func withEsctl(_ body: (inout EsctlRunner) async throws -> Void) async throws {
      var esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      try await body(&esctl)
    }

    @Test("a variable, or what a command prints, goes before the file; neither shows in an error")
    func variables() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        let file = try #require(esctl.environment["EVENTSTORE_KEYRING"])
        let key = try await esctl("keys", "init", "--print").standardOutput
        #expect(!FileManager.default.fileExists(atPath: file))
        esctl.environment["EVENTSTORE_MASTER_KEY"] = key
        #expect(try await esctl(Self.append).status == 0)
        #expect(!FileManager.default.fileExists(atPath: file))
        #expect(try await esctl("read", "a-1").status == 0)

        esctl.environment["EVENTSTORE_MASTER_KEY"] = nil
        esctl.environment["EVENTSTORE_MASTER_KEY_COMMAND"] = "echo '\(key.split(separator: "\n")[0])'"
        #expect(try await esctl(Self.append).status == 0)
        for command in [
          "false", "true", "echo secret-rubbish; echo secret-rubbish >&2", "yes rubbish | head -c 2000000",
        ] {
          esctl.environment["EVENTSTORE_MASTER_KEY_COMMAND"] = command
          let output = try await esctl(Self.append)
          #expect(output.status == 6 && output.standardError.contains("EVENTSTORE_MASTER_KEY_COMMAND"))
          #expect(!output.standardError.contains("rubbish"))
        }
        esctl.environment["EVENTSTORE_MASTER_KEY_COMMAND"] = nil
        esctl.environment["EVENTSTORE_MASTER_KEY"] = "secret-rubbish"
        let output = try await esctl(Self.append)
        #expect(output.status == 6 && !output.standardError.contains("rubbish"))
      }
    }

    @Test("no command makes a new keyring for a store whose own is lost")
    func lost() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        #expect(try await esctl(Self.append).status == 0)
        let file = try #require(esctl.environment["EVENTSTORE_KEYRING"])
        try FileManager.default.moveItem(atPath: file, toPath: file + ".backup")
        try "n\n1\n".write(to: esctl.folder.appendingPathComponent("x.csv"), atomically: true, encoding: .utf8)
        for arguments in [
          Self.append, ["import", "x.csv", "--stream", "a-{n}", "--type", "t"], ["demo", "--events", "1000"],
        ] {
          #expect(try await esctl(arguments).status == 6, "\(arguments)")
          #expect(!FileManager.default.fileExists(atPath: file), "\(arguments)")
        }
        #expect(try await esctl("read", "a-1").status == 6)
        #expect(try await esctl("keys", "list", "--json").lines.map { $0["inHand"] as? Bool } == [false])
        #expect(try await esctl("doctor").status == 1)
        try FileManager.default.moveItem(atPath: file + ".backup", toPath: file)
        #expect(try await esctl("read", "a-1", "--json").lines.count == 1)
      }
    }

    @Test("a schema that is no store gets no keyring either")
    func noStore() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        let output = try await esctl(Self.append + ["--schema", "absent"])
        #expect(output.status == 4 && output.standardError.contains("esctl migrate"), "\(output.standardError)")
        #expect(!FileManager.default.fileExists(atPath: try #require(esctl.environment["EVENTSTORE_KEYRING"])))
      }
    }

    @Test("a category that is declared plaintext is stored in the clear, and read only where it is declared")
    func plaintext() async throws {
      try await withEsctl { (esctl: inout EsctlRunner) async throws in
        #expect(try await esctl("append", "secret-1", "--type", "t", "--data", "{}").status == 0)
        esctl.environment["EVENTSTORE_PLAINTEXT_CATEGORIES"] = "other,open"
        #expect(try await esctl("append", "open-1", "--type", "t", "--data", "{\"a\":1}").status == 0)
        #expect(try await esctl("read", "open-1").status == 0)
        #expect(try await esctl("read", "secret-1").status == 0)
        esctl.environment["EVENTSTORE_PLAINTEXT_CATEGORIES"] = nil
        let undeclared = try await esctl("read", "open-1", "--json")
        #expect(undeclared.status == 6)
        #expect((try undeclared.lines.first?["error"] as? [String: Any])?["code"] as? String == "notSealed")
      }
    }
  }
}
