import Foundation
import TestSupport

/// Runs the esctl that was built beside the tests, in a folder of its own.
struct EsctlRunner {
  struct Output {
    let status: Int32
    let standardOutput: String
    let standardError: String

    var lines: [[String: Any]] {
      get throws {
        try standardOutput.split(separator: "\n").map { line in
          guard let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] else {
            throw CocoaError(.propertyListReadCorrupt)
          }
          return object
        }
      }
    }
  }

  let folder: URL
  var environment: [String: String]

  /// - Parameter database: The database to work in; `nil`: a private PostgreSQL in the folder.
  init(_ database: TestDatabase?) throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("esctl-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    environment = ["EVENTSTORE_KEYRING": folder.appendingPathComponent("keyring").path, "PATH": "/usr/bin:/bin"]
    environment["EVENTSTORE_URL"] = database?.connectionString
  }

  func remove() { try? FileManager.default.removeItem(at: folder) }

  private func process(_ arguments: [String]) throws -> Process {
    let process = Process()
    process.executableURL = try builtProgram("esctl")
    process.arguments = arguments
    process.environment = environment
    process.currentDirectoryURL = folder
    return process
  }

  func callAsFunction(_ arguments: String..., input: String = "") async throws -> Output {
    try await self(arguments, input: input)
  }

  func callAsFunction(_ arguments: [String], input: String = "") async throws -> Output {
    try await start(arguments, input: input).output()
  }

  /// A command that runs.
  struct Running {
    let process: Process
    fileprivate let files: [URL]

    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// Waits for its end, without keeping a thread from other tests.
    func output() async throws -> Output {
      while process.isRunning { try await Task.sleep(for: .milliseconds(2)) }
      return Output(
        status: process.terminationStatus,
        standardOutput: String(decoding: try Data(contentsOf: files[0]), as: UTF8.self),
        standardError: String(decoding: try Data(contentsOf: files[1]), as: UTF8.self))
    }

    /// What it has printed so far.
    var printed: String { get throws { String(decoding: try Data(contentsOf: files[0]), as: UTF8.self) } }
  }

  /// Waits for the end of all.
  func outputs(of commands: [Running]) async throws -> [Output] {
    var outputs: [Output] = []
    for command in commands { outputs.append(try await command.output()) }
    return outputs
  }

  /// - Parameter input: `nil`: standard input stays open, and nothing comes.
  func start(_ arguments: [String], input: String? = "") throws -> Running {
    // Files, not pipes: nothing blocks, however much is written.
    let name = UUID().uuidString
    let files = ["in", "out", "err"].map { folder.appendingPathComponent("\(name).\($0)") }
    for file in files[1...] { FileManager.default.createFile(atPath: file.path, contents: nil) }
    let process = try process(arguments)
    if let input {
      try Data(input.utf8).write(to: files[0])
      process.standardInput = try FileHandle(forReadingFrom: files[0])
    } else {
      process.standardInput = Pipe()
    }
    process.standardOutput = try FileHandle(forWritingTo: files[1])
    process.standardError = try FileHandle(forWritingTo: files[2])
    try Self.launch(process)
    return Running(process: process, files: Array(files[1...]))
  }

  /// With no signal blocked, as a shell starts it: threads of tasks block some, and children inherit that.
  private static func launch(_ process: Process) throws {
    var none = sigset_t()
    var before = sigset_t()
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try process.run()
  }

  /// Runs a line of shell in which `esctl` is the one that was built.
  func shell(_ line: String) async throws -> Output {
    let name = UUID().uuidString
    let files = ["out", "err"].map { folder.appendingPathComponent("\(name).\($0)") }
    for file in files { FileManager.default.createFile(atPath: file.path, contents: nil) }
    let process = try process(["-o", "pipefail", "-c", line])
    process.environment?["PATH"] = "\(process.executableURL?.deletingLastPathComponent().path ?? ""):/usr/bin:/bin"
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = try FileHandle(forWritingTo: files[0])
    process.standardError = try FileHandle(forWritingTo: files[1])
    try Self.launch(process)
    return try await Running(process: process, files: files).output()
  }

  /// Starts a command and kills it with `signal` after a while.
  func killed(_ arguments: [String], after duration: Duration, with signal: Int32) async throws {
    let process = try process(arguments)
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try Self.launch(process)
    try await Task.sleep(for: duration)
    kill(process.processIdentifier, signal)
    while process.isRunning { try await Task.sleep(for: .milliseconds(2)) }
  }
}
