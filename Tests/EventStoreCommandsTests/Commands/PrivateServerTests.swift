import Foundation
import TestSupport
import Testing

extension CommandLineTests {
  @Suite("The private PostgreSQL", .serialized)
  struct PrivateServerTests {
    private func withEsctl(_ body: (inout EsctlRunner) async throws -> Void) async throws {
      var esctl = try EsctlRunner(nil)
      esctl.environment["EVENTSTORE_KEYRING"] = nil
      defer { esctl.remove() }
      do {
        try await body(&esctl)
      } catch {
        _ = try await esctl("down")
        throw error
      }
      _ = try await esctl("down")
    }

    @Test("commands that only read make nothing; several first appends at once make one cluster and one keyring")
    func firstUse() async throws {
      try await withEsctl { esctl in
        let folder = esctl.folder.appendingPathComponent(".eventstore")
        for arguments in [["read", "a-1"], ["log", "--follow"], ["streams"], ["export"], ["keys", "list"]] {
          let output = try await esctl(arguments)
          #expect(
            output.status == 4 && output.standardError.contains("esctl up"), "\(arguments) \(output.standardError)")
        }
        #expect(try await esctl("status").status == 0)
        #expect(try await esctl("down").status == 0)
        #expect(!FileManager.default.fileExists(atPath: folder.path))

        let appends = try (1...4).map {
          try esctl.start(["append", "a-\($0)", "--type", "t", "--data", "{\"text\":\"in the clear\"}"])
        }
        let outputs = try await esctl.outputs(of: appends)
        #expect(outputs.map(\.status) == [0, 0, 0, 0], "\(outputs.map(\.standardError))")
        #expect(outputs.count { $0.standardError.contains("created the keyring") } == 1)
        let data = try await esctl("log", "--json").lines.map { ($0["data"] as? [String: String])?["text"] }
        #expect(data == Array(repeating: "in the clear", count: 4))

        // A slip in the schema's name makes no store.
        #expect(try await esctl("streams", "--schema", "slip").status == 4)
        #expect(
          try await esctl("status", "--schema", "slip", "--json").lines.first?["migration"] as? String == "no store")

        for state in [true, false] {
          #expect(try await esctl("down", "--json").lines.first?["stopped"] as? Bool == state)
        }
        #expect(try await esctl.shell("grep -rlaF 'in the clear' .eventstore").standardOutput.isEmpty)
        for _ in 1...2 { #expect(try await esctl("up", "--json").lines.first?["migrationsApplied"] as? Int == 0) }
        #expect(try await esctl("read", "a-3", "--json").lines.count == 1)
      }
    }

    @Test(
      "while the server recovers from a crash, commands wait; `down` does, too; `status` tells as many events as before"
    )
    func recovery() async throws {
      try await withEsctl { esctl in
        let rows = (0..<3000).map { "{\"id\":\"\($0)\"}" }.joined(separator: "\n")
        let file = esctl.folder.appendingPathComponent("rows.jsonl")
        try rows.write(to: file, atomically: true, encoding: .utf8)
        #expect(try await esctl("import", "rows.jsonl", "--stream", "row-{id}", "--type", "row").status == 0)
        // (With nothing but a shell: pgrep is not everywhere.)
        let kill = #"""
          server=$(head -1 .eventstore/data/postmaster.pid)
          for process in /proc/[0-9]*; do
            [ "$(awk '{ print $4 }' $process/stat 2>/dev/null)" = $server ] || continue
            grep -qa 'background writer' $process/cmdline && kill -9 ${process#/proc/} && exit
          done
          exit 1
          """#
        #expect(try await esctl.shell(kill).status == 0)
        try await Task.sleep(for: .milliseconds(30))
        let append = try await esctl("append", "a-1", "--type", "t", "--data", "{}")
        #expect(append.status == 0, "\(append.standardError)")
        #expect(try await esctl("status", "--json").lines.first?["estimatedEvents"] as? Int == 3001)
        #expect(try await esctl.shell(kill).status == 0)
        try await Task.sleep(for: .milliseconds(30))
        let down = try await esctl("down")
        #expect(down.status == 0 && down.standardError.isEmpty, "\(down.standardError)")
        #expect(try await esctl("read", "a-1", "--json").lines.count == 1)
      }
    }

    @Test("what libpq's variables say of another server, and of how to go there, is not for this one")
    func variables() async throws {
      try await withEsctl { esctl in
        for (name, value) in [
          ("PGHOSTADDR", "127.0.0.77"), ("PGOPTIONS", "-c default_transaction_read_only=on"),
          ("PGTARGETSESSIONATTRS", "standby"), ("PGSSLMODE", "bogus"), ("PGCHANNELBINDING", "require"),
          ("PGGSSENCMODE", "require"),
        ] { esctl.environment[name] = value }
        let output = try await esctl("append", "a-1", "--type", "t", "--data", "1")
        #expect(output.status == 0, "\(output.standardError)")
      }
    }

    @Test("it does not inherit what is only the command's, such as a master key: SQL could print it")
    func environment() async throws {
      try await withEsctl { esctl in
        let key = try await esctl("keys", "init", "--print").standardOutput
        esctl.environment["EVENTSTORE_MASTER_KEY"] = key
        #expect(try await esctl("append", "a-1", "--type", "t", "--data", "1").status == 0)
        let found = try await esctl.shell(
          "tr '\\0' '\\n' < /proc/$(head -n 1 .eventstore/data/postmaster.pid)/environ | grep -c -e LC_ALL -e EVENTSTORE_"
        )
        #expect(found.standardOutput == "1\n", "\(found)")
      }
    }

    @Test("who follows a store from before its first append, which makes the keyring, can read that")
    func followedFromTheBeginning() async throws {
      try await withEsctl { esctl in
        #expect(try await esctl("up").status == 0)
        let following = try esctl.start(["log", "--follow", "--json"])
        try await Task.sleep(for: .milliseconds(500))
        #expect(try await esctl("append", "a-1", "--type", "t", "--data", "{\"x\":1}").status == 0)
        try await eventually("it is printed") { try following.printed.hasSuffix("\n") }
        following.signal(SIGINT)
        let output = try await following.output()
        #expect(output.status == 0 && output.standardOutput.contains("\"data\":{\"x\":1}"), "\(output)")
      }
    }

    @Test("log --follow prints what is committed, across a restart of the server, until SIGINT: that is no failure")
    func follow() async throws {
      try await withEsctl { esctl in
        func append(_ number: Int) async throws {
          #expect(try await esctl("append", "a-1", "--type", "t", "--data", "\(number)").status == 0)
        }
        func wait(for following: EsctlRunner.Running, lines: Int) async throws {
          let deadline = ContinuousClock.now + .seconds(20)
          while try following.printed.split(separator: "\n").count < lines, .now < deadline {
            try await Task.sleep(for: .milliseconds(10))
          }
        }
        try await append(1)
        let following = try esctl.start(["log", "--follow", "--json"])
        try await wait(for: following, lines: 1)
        try await append(2)
        try await wait(for: following, lines: 2)
        #expect(try await esctl("down").status == 0)
        try await append(3)
        try await wait(for: following, lines: 3)
        following.signal(SIGINT)
        let output = try await following.output()
        #expect(output.status == 0)
        // Of an outage it is told once, where it was seen.
        let told = output.standardError.split(separator: "\n")
        #expect(told.isEmpty || told.count == 1 && told[0].contains("lost the database"), "\(output.standardError)")
        #expect(try output.lines.map { $0["data"] as? Int } == [1, 2, 3])
      }
    }

    @Test(
      "SIGINT ends a command that waits for input",
      arguments: [["append", "a-1", "--type", "t", "--data", "-"], ["import", "-", "--format", "jsonl"]])
    func silentInput(arguments: [String]) async throws {
      try await withEsctl { esctl in
        #expect(try await esctl("up").status == 0)
        let waiting = try esctl.start(arguments, input: nil)
        try await Task.sleep(for: .milliseconds(700))
        waiting.signal(SIGINT)
        let output = try await waiting.output()
        #expect(output.status == 1 && output.standardError.contains("interrupted"), "\(output.standardError)")
        #expect(try await esctl("log").standardOutput.isEmpty)
      }
    }
  }
}
