import EventStore
import Foundation
import TestSupport
import Testing

@Suite("kill -9 of clients", .database, .timeLimit(.minutes(15)))
struct ClientCrashTests {
  @Test("every acknowledged event is there, once, in order; versions have no gap, and others go on")
  func killed() async throws {
    let database = try TestDatabase.required
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("append-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let journal = folder.appendingPathComponent("journal")
    let keyring = try Keyring.create(file: folder.appendingPathComponent("keyring").path)
    func start() throws -> Process {
      let process = Process()
      process.executableURL = try builtProgram("append-worker")
      process.arguments = [journal.path, "8"]
      process.environment = ProcessInfo.processInfo.environment.merging([
        "EVENTSTORE_URL": database.connectionString,
        "EVENTSTORE_KEYRING": folder.appendingPathComponent("keyring").path,
      ]) { $1 }
      try process.run()
      return process
    }
    func lines() -> [String] {
      ((try? String(contentsOf: journal, encoding: .utf8)) ?? "").split(separator: "\n").map(String.init)
    }
    var workers: [Process] = []
    func kill(_ process: Process) {
      Glibc.kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
    defer { workers.forEach(kill) }
    for _ in 0..<2 { workers.append(try start()) }
    for round in 1...6 {
      let seen = lines().count
      try await eventually("appends in round \(round)") { lines().count > seen + 100 }
      try await Task.sleep(for: .milliseconds(Int.random(in: 0..<200)))
      kill(workers.removeFirst())
      workers.append(try start())
    }
    workers.forEach(kill)
    workers = []
    // What the server still does for a dead client holds readers back.
    try await eventually("connections that are gone") {
      try await database.number(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()") == 0
    }

    let told = Set(lines())
    #expect(told.count > 600)
    var configuration = database.configuration
    configuration.encryption = .sealed(keyring)
    try await PostgreSQLEventLog.withLog(configuration) { log in
      try await log.append([.sample()], to: "shared-1", expecting: .any)
      let all = try await log.readAll().collect()
      #expect(told.subtracting(all.map { "\($0.id) \($0.stream) \($0.version) \($0.position)" }).isEmpty)
      #expect(Set(all.map(\.id)).count == all.count)
      for (stream, events) in Dictionary(grouping: all, by: \.stream) {
        #expect(events.map(\.version) == Array(1..<events.count + 1), "\(stream)")
      }
      #expect(all.allSatisfy { (try? $0.payload.get()) != nil })
    }
  }
}
