import Glibc
import SystemPackage
import Testing

@testable import EmbeddedPostgreSQL

@Suite("The server's files")
struct ServerFilesTests {
  @Test("postmaster.pid is read at every stage of a start")
  func postmasterFile() throws {
    let lines = ["4711", "/data", "1700000000", "5432", "/run/my dir", "", "  5432001 7", "ready   "]
    let ready = try #require(PostmasterFile(text: lines.joined(separator: "\n") + "\n"))
    #expect(ready.pid == 4711)
    #expect(ready.isReady)
    #expect(
      ready.connectionString?.hasPrefix("host='/run/my dir' port=5432 dbname=eventstore user=eventstore ") == true)
    for length in 1..<lines.count {
      let early = try #require(PostmasterFile(text: lines.prefix(length).joined(separator: "\n")))
      #expect(!early.isReady)
    }
  }

  @Test(
    "a damaged postmaster.pid is none", arguments: ["", "\n", "x\n/data", "-5\n", "0\n", "99999999999\n"])
  func damagedPostmasterFile(text: String) {
    #expect(PostmasterFile(text: text) == nil)
  }

  @Test(
    "values of settings are quoted",
    arguments: [
      ("on", "'on'"), ("it's", "'it''s'"), (#"a\b"#, #"'a\\b'"#), ("two\nlines", #"'two\nlines'"#),
      ("", "''"),
    ])
  func quoted(value: String, written: String) {
    #expect(ServerSettings.quoted(value) == written)
  }

  @Test("a process is alive or not")
  func processes() {
    #expect(RunningProcess(pid: getpid()) != nil)
    #expect(RunningProcess(pid: getpid())?.arguments.isEmpty == false)
    #expect(RunningProcess(pid: Int32.max) == nil)
  }
}
