import Foundation
import PostgreSQL
import TestSupport
import Testing

extension CommandLineTests {
  @Suite("What commands print, and where it goes", .database)
  struct OutputTests {
    private func withEsctl(_ body: (inout EsctlRunner) async throws -> Void) async throws {
      var esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      for row in 1...3 {
        #expect(try await esctl("append", "a-1", "--type", "t", "--data", "{\"n\":\(row)}").status == 0)
      }
      try await body(&esctl)
    }

    @Test("--json: every line on standard output is an object")
    func everyCommand() async throws {
      try await withEsctl { esctl in
        for arguments in [
          ["status"], ["migrate"], ["up"], ["append", "a-2", "--type", "t", "--data", "-"], ["read", "a-1"], ["log"],
          ["streams"], ["stream", "a-1"], ["keys", "list"], ["doctor"], ["version"], ["export"],
          ["demo", "--events", "1000"], ["bench", "--seconds", "1", "--writers", "2"],
        ] {
          let output = try await esctl(arguments + ["--json"], input: "{}")
          // The tests' server does not wait for its disk, which the doctor finds wrong.
          #expect(output.status == (arguments == ["doctor"] ? 1 : 0), "\(arguments) \(output.standardError)")
          #expect(try !output.lines.isEmpty, "\(arguments)")
          #expect(output.standardError.isEmpty, "\(arguments) \(output.standardError)")
        }
      }
    }

    @Test("of two that would use one schema, the second leaves it alone")
    func twoBenches() async throws {
      try await withEsctl { esctl in
        let first = try esctl.start(["bench", "--seconds", "1", "--writers", "2"])
        let database = try TestDatabase.required
        try await eventually("the first one works") {
          try await database.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'esctl_bench'") == 1
        }
        let second = try await esctl("bench", "--seconds", "1", "--writers", "2")
        #expect(second.status == 1 && second.standardError.contains("another run"), "\(second)")
        #expect(try await first.output().status == 0)
        #expect(try await database.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'esctl_bench'") == 0)
      }
    }

    @Test("an export of a category without events leaves the file that was there; an impossible one is wrong usage")
    func categories() async throws {
      try await withEsctl { esctl in
        let file = esctl.folder.appendingPathComponent("events.jsonl")
        try "old".write(to: file, atomically: true, encoding: .utf8)
        #expect(try await esctl("export", "--category", "b", "--output", "events.jsonl").status == 4)
        #expect(try String(contentsOf: file, encoding: .utf8) == "old")
        for category in ["", "a-1"] {
          #expect(try await esctl("export", "--category", category).status == 64)
          #expect(try await esctl("log", "--category", category).status == 64)
        }
        #expect(try await esctl("export", "--category", "a").standardOutput.split(separator: "\n").count == 3)
      }
    }

    @Test("nor have messages those of a file's names")
    func controlCharactersInMessages() async throws {
      try await withEsctl { esctl in
        for (name, text) in [
          ("a.jsonl", "{\"strea\\u001bcm\":\"x\",\"t\":\"a\"}"), ("a.csv", "id,na\u{1B}]0;pwn\u{7}me\n1,2\n"),
        ] {
          try text.write(to: esctl.folder.appendingPathComponent(name), atomically: true, encoding: .utf8)
          let format = name.hasSuffix("csv") ? "csv" : "jsonl"
          for onError in ["stop", "skip"] {
            let output = try await esctl(
              "import", name, "--format", format, "--stream", "a-{stream}", "--type", "t", "--on-error", onError)
            #expect(
              output.status != 0 && !output.standardError.contains { $0 == "\u{1B}" || $0 == "\u{7}" }, "\(output)")
          }
        }
      }
    }

    @Test("rows that are nested deeper than we read, beside others, are shown")
    func deepRows() async throws {
      try await withEsctl { esctl in
        let deep = "{\"x\":\(String(repeating: "[", count: 511) + String(repeating: "]", count: 511))}"
        #expect(try await esctl("append", "deep-1", "--type", "deep.a", "--data", deep).status == 0)
        #expect(try await esctl("append", "deep-2", "--type", "deep.a", "--data", "{\"x\":1}").status == 0)
        try """
        -- read model: deep
        -- version: 1
        -- categories: deep
        CREATE TABLE deep (stream text PRIMARY KEY, data jsonb);
        -- on: deep.a
        INSERT INTO deep SELECT stream, jsonb_build_object('y', jsonb_build_object('z', data)) FROM events;
        """.write(to: esctl.folder.appendingPathComponent("m.sql"), atomically: true, encoding: .utf8)
        let output = try await esctl("replay", "--category", "deep", "--into", "m.sql")
        #expect(output.status == 0 && output.standardOutput.contains("deep-2"), "\(output)")
      }
    }

    @Test("what is printed for people has no control characters of a payload in it")
    func controlCharacters() async throws {
      try await withEsctl { esctl in
        let data = #"{"a":"\u001b[2J\u0007","b":"l1\nl2"}"#
        #expect(try await esctl("append", "c-1", "--type", "t", "--data", data).status == 0)
        for arguments in [["--steps"], ["--diff", "0..1"], []] {
          let output = try await esctl(["replay", "c-1"] + arguments)
          #expect(output.status == 0 && !output.standardOutput.contains("\u{1B}"), "\(arguments)")
          #expect(!output.standardOutput.contains("\nl2"), "\(arguments)")
        }
      }
    }

    @Test("an event that was appended, and could not be told of, is told of")
    func fullOutput() async throws {
      try await withEsctl { esctl in
        for redirection in [">/dev/full", ">&-"] {
          let output = try await esctl.shell("esctl append a-1 --type t --data 1 \(redirection)")
          #expect(output.status == 1 && output.standardError.contains("the event was appended"), "\(output)")
        }
        // Bytes that are no UTF-8 are refused, not replaced.
        let output = try await esctl.shell(#"esctl append a-1 --type t --data "$(printf '"\377"')""#)
        #expect(output.status == 64 && output.standardError.contains("UTF-8"), "\(output)")
        #expect(try await esctl("read", "a-1", "--json").lines.count == 5)
      }
    }

    @Test("with the role that is recommended: what reads", arguments: ["eventstore_reader", "eventstore_writer"])
    func role(name: String) async throws {
      try await withEsctl { esctl in
        // As an inline projection has it: one trigger more than those that protect the log.
        try await TestDatabase.required.sql(
          """
          CREATE TRIGGER events_inline BEFORE INSERT ON eventstore.events
            FOR EACH STATEMENT EXECUTE FUNCTION eventstore.require_inline()
          """)
        esctl.environment["EVENTSTORE_URL"] = ConnectionString.withRole(
          name, in: try TestDatabase.required.connectionString)
        for arguments in [
          ["status"], ["read", "a-1"], ["log"], ["streams"], ["stream", "a-1"], ["export"], ["doctor"],
        ] {
          let output = try await esctl(arguments + ["--json"])
          #expect(output.status == (arguments == ["doctor"] ? 1 : 0), "\(arguments) \(output.standardError)")
        }
        let doctor = try await esctl("doctor")
        #expect(doctor.standardOutput.contains("triggers refuse UPDATE, DELETE and TRUNCATE"), "\(doctor)")
      }
    }

    @Test(
      "--json: an error is one object on standard error",
      arguments: [
        ["nonsense"], ["append", "a-1"], ["append", "a-1", "--type", "t", "--data", "{}", "--expect", "soon"],
        ["append", "a-1", "--type", "t", "--data", "{}", "--expect", "77"],
        ["append", "a-1", "--type", "t", "--data", "{"],
        ["read", "a-404"], ["read", "a-1", "--until", "soon"], ["status", "--schema", "Not This"],
        ["streams", "--schema", "absent"], ["import", "missing.csv", "--stream", "a-{b}", "--type", "t"], ["down"],
        ["export", "--output", ""], ["status", "--directory", ""],
      ])
    func errors(arguments: [String]) async throws {
      try await withEsctl { esctl in
        let output = try await esctl(arguments + ["--json"])
        #expect(output.status != 0 && output.standardOutput.isEmpty)
        let object = try JSONSerialization.jsonObject(with: Data(output.standardError.utf8)) as? [String: Any]
        let error = try #require(object?["error"] as? [String: Any])
        #expect(error["code"] is String && error["message"] is String)
      }
    }

    @Test("a reader that has enough ends a command quietly")
    func pipes() async throws {
      try await withEsctl { esctl in
        for command in ["log", "log --follow", "export --json", "streams", "--help"] {
          // As from a terminal: whoever runs these tests may ignore the signal.
          let output = try await esctl.shell("env --default-signal=PIPE esctl \(command) | head -n 1")
          #expect(output.standardOutput.split(separator: "\n").count == 1, "\(command)")
          #expect(output.standardError.isEmpty && output.status == 0, "\(command): \(output)")
        }
        let unread = try await esctl.shell("env --default-signal=PIPE esctl export | true")
        #expect(unread.status == 0, "\(unread)")
      }
    }

    @Test(
      "output that cannot be written is a failure", .enabled(if: FileManager.default.fileExists(atPath: "/dev/full")))
    func diskFull() async throws {
      try await withEsctl { esctl in
        #expect(try await esctl("outbox", "groups", "create", "mailer").status == 0)
        for command in [
          "log > /dev/full", "export > /dev/full", "export --output /dev/full", "status > /dev/full",
          "outbox lag --watch > /dev/full", "outbox consume mailer --ack-all > /dev/full",
        ] {
          let output = try await esctl.shell("esctl \(command)")
          #expect(output.status == 1, "\(command)")
          #expect(output.standardError.contains("No space left"), "\(command): \(output.standardError)")
          let name = command.contains("--output") ? "/dev/full" : "the output"
          #expect(output.standardError.contains("cannot write \(name)"), "\(command): \(output.standardError)")
        }
      }
    }

    @Test("an export writes the file that a link names, and not what another process writes")
    func files() async throws {
      try await withEsctl { esctl in
        let folder = esctl.folder
        try FileManager.default.createSymbolicLink(
          atPath: folder.appendingPathComponent("link.jsonl").path, withDestinationPath: "real.jsonl")
        // As another process left it, which was killed.
        let partial = folder.appendingPathComponent("real.jsonl.partial").path
        try String(repeating: "old", count: 100_000).write(toFile: partial, atomically: false, encoding: .utf8)
        // Somebody else's, perhaps: neither lost nor written, nor is what it leads to.
        let refused = try await esctl("export", "--output", "real.jsonl")
        #expect(refused.status == 1 && refused.standardError.contains("move it away"), "\(refused.standardError)")
        #expect(chmod(partial, 0o600) == 0)
        #expect(try await esctl("export", "--output", "real.jsonl").status == 0)
        let complete = try Data(contentsOf: folder.appendingPathComponent("real.jsonl"))
        #expect(complete.split(separator: UInt8(ascii: "\n")).count == 3)

        #expect(try await esctl("export", "--output", "link.jsonl").status == 0)
        #expect(try FileManager.default.destinationOfSymbolicLink(atPath: folder.path + "/link.jsonl") == "real.jsonl")
        #expect(try Data(contentsOf: folder.appendingPathComponent("real.jsonl")) == complete)

        let other = open(partial, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        defer { close(other) }
        try #require(flock(other, LOCK_EX) == 0)
        let export = try await esctl("export", "--output", "link.jsonl")
        #expect(export.status == 1 && export.standardError.contains("another process"), "\(export.standardError)")
        #expect(FileManager.default.fileExists(atPath: partial))
        #expect(try Data(contentsOf: folder.appendingPathComponent("real.jsonl")) == complete)
      }
    }

    @Test("an export that fails leaves the file that was there; an altered row is named")
    func alteredRow() async throws {
      try await withEsctl { esctl in
        let connection = try await Connection.connect(ConnectionConfiguration(TestDatabase.required.connectionString))
        defer { connection.close() }
        let file = esctl.folder.appendingPathComponent("events.jsonl")
        #expect(try await esctl("export", "--output", "events.jsonl").status == 0)
        let complete = try Data(contentsOf: file)
        #expect(try FileManager.default.attributesOfItem(atPath: file.path)[.posixPermissions] as? Int == 0o600)
        try await connection.script(
          """
          SET session_replication_role = replica;
          UPDATE eventstore.events SET data = set_byte(data, length(data) - 1, get_byte(data, length(data) - 1) # 1)
           WHERE version = 2;
          """)

        let export = try await esctl("export", "--output", "events.jsonl")
        #expect(export.status == 6 && export.standardError.contains("a-1, version 2"), "\(export.standardError)")
        #expect(try Data(contentsOf: file) == complete)
        #expect(!FileManager.default.fileExists(atPath: file.path + ".partial"))

        let read = try await esctl("read", "a-1", "--json")
        #expect(read.status == 6)
        #expect(try read.lines.map { $0["error"] == nil } == [true, false, true])
      }
    }
  }
}
