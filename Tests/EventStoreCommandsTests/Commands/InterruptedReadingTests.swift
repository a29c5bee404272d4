import Foundation
import TestSupport
import Testing

extension CommandLineTests {
  @Suite("Commands that read, interrupted", .database)
  struct InterruptedReadingTests {
    private func withRows(_ body: (EsctlRunner) async throws -> Void) async throws {
      let esctl = try EsctlRunner(TestDatabase.required)
      defer { esctl.remove() }
      let rows = (0..<30_000).map { "\($0),\($0 % 7)\n" }.joined()
      try "n,account\n\(rows)".write(
        to: esctl.folder.appendingPathComponent("rows.csv"), atomically: true, encoding: .utf8)
      #expect(try await esctl("keys", "init").status == 0)
      #expect(try await esctl("import", "rows.csv", "--stream", "account-{account}", "--type", "row").status == 0)
      try await body(esctl)
    }

    @Test("an export ends at once and leaves nothing of its file", arguments: [SIGINT, SIGTERM, SIGHUP])
    func export(signal: Int32) async throws {
      try await withRows { esctl in
        let partial = esctl.folder.appendingPathComponent("all.jsonl.partial").path
        let exporting = try esctl.start(["export", "--output", "all.jsonl"])
        while exporting.process.isRunning, !FileManager.default.fileExists(atPath: partial) {
          try await Task.sleep(for: .milliseconds(1))
        }
        exporting.signal(signal)
        let output = try await exporting.output()
        #expect(output.status == 1 && output.standardError.contains("interrupted"), "\(output)")
        #expect(
          try FileManager.default.contentsOfDirectory(atPath: esctl.folder.path).allSatisfy { !$0.contains("jsonl") })
      }
    }

    @Test(
      "a follower ends while it has much to catch up with, also where a signal is passed on twice, as timeout(1) does",
      arguments: [SIGINT, SIGTERM], [1, 2])
    func follow(signal: Int32, times: Int) async throws {
      try await withRows { esctl in
        let file = esctl.folder.appendingPathComponent("log.txt").path
        // The signal is the shell's child's.
        let kills = Array(repeating: "kill -\(signal) $p", count: times).joined(separator: "; /bin/true; ")
        let output = try await esctl.shell(
          "esctl log --follow > \(file) & p=$!; while [ ! -s \(file) ]; do sleep 0.01; done; \(kills); wait $p"
        )
        #expect(output.status == 0, "\(output)")
        let lines = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").count
        #expect(lines > 0 && lines < 30_000)
      }
    }
  }
}
