import Foundation
import TestSupport

/// Processes of `outbox-worker`.
final class Crew {
  let journal: URL
  private(set) var deaths: [Int32: UInt64] = [:]
  private var workers: [(process: Process, members: Int)] = []
  private let environment: [String: String]
  private let arguments: [String]
  private let groups: [String]

  var count: Int { workers.count }

  init(
    _ database: TestDatabase, _ keyring: String, how: String, lease: Double, groups: [String],
    environment further: [String: String] = [:]
  ) throws {
    journal = FileManager.default.temporaryDirectory.appendingPathComponent("outbox-\(UUID().uuidString)")
    environment = [
      "EVENTSTORE_URL": database.connectionString,
      "EVENTSTORE_KEYRING": keyring,
    ].merging(further) { $1 }
    arguments = [how, "\(lease)"]
    self.groups = groups
  }

  func start(members: Int) throws {
    let process = Process()
    process.executableURL = try builtProgram("outbox-worker")
    process.arguments = [journal.path, "\(members)"] + arguments + groups
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    try process.run()
    workers.append((process, members))
  }

  /// Kills one after the other and starts it again, until all is done. Each lives a little longer than the one before: on a
  /// machine that is busy enough, none would ever come to do anything.
  func kill(every pause: Duration, until isDone: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(300)
    var pause = pause
    var nextKill = ContinuousClock.now + pause
    while try await !isDone() || deaths.count < 2 {
      guard ContinuousClock.now < deadline else { throw NotInTime("not within 300 s") }
      try await Task.sleep(for: .milliseconds(20))
      guard ContinuousClock.now >= nextKill else { continue }
      pause = pause * 1.05
      nextKill = .now + pause
      let worker = workers.remove(at: 0)
      kill(worker.process)
      try start(members: worker.members)
    }
  }

  private func kill(_ process: Process) {
    Glibc.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    deaths[process.processIdentifier] = Self.now
  }

  static var now: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  func stopOne() async throws -> Int32 {
    let process = workers[0].process
    Glibc.kill(process.processIdentifier, SIGSTOP)
    // It may run on for a moment on a busy machine.
    try await eventually("it is stopped") {
      let state = try String(contentsOfFile: "/proc/\(process.processIdentifier)/stat", encoding: .utf8)
      return state.split(separator: ")").last?.hasPrefix(" T") == true
    }
    // What it had is not its own any more.
    deaths[process.processIdentifier] = Self.now
    return process.processIdentifier
  }

  func wake(_ process: Int32) { Glibc.kill(process, SIGCONT) }

  func end() {
    for worker in workers {
      Glibc.kill(worker.process.processIdentifier, SIGKILL)
      worker.process.waitUntilExit()
    }
    try? FileManager.default.removeItem(at: journal)
  }
}
