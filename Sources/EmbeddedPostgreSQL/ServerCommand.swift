import FoundationEssentials
import Subprocess
import SystemPackage

/// One run of a program of the server, to its end.
struct ServerCommand {
  var program: FilePath
  var arguments: [String]
  var account: ServerAccount
  var workingDirectory: FilePath?
  var standardInput: String

  init(
    _ program: FilePath, _ arguments: [String], as account: ServerAccount = .current,
    in workingDirectory: FilePath? = nil, standardInput: String = ""
  ) {
    self.program = program
    self.arguments = arguments
    self.account = account
    self.workingDirectory = workingDirectory
    self.standardInput = standardInput
  }

  /// What the server finds otherwise than this process, whom it outlives. Its messages are read at the start, so they must
  /// be in English; and whatever SQL can make it run would see our master key, or another server's password.
  private static var environment: [Environment.Key: String?] {
    var changes: [Environment.Key: String?] = ["LC_ALL": "C"]
    for name in ProcessInfo.processInfo.environment.keys where name.hasPrefix("EVENTSTORE_") || name.hasPrefix("PG") {
      if let key = Environment.Key(rawValue: name) { changes[key] = .some(nil) }
    }
    return changes
  }

  /// Runs the program and returns its standard output.
  ///
  /// - Parameter detached: In a session of its own, so that a Ctrl-C in the terminal does not reach it.
  /// - Throws: ``EmbeddedClusterError/commandFailed(command:status:output:)`` unless it exits with 0.
  @discardableResult func output(detached: Bool = false) async throws -> String {
    let line = account.prefix + [program.string] + arguments
    var options = PlatformOptions()
    options.createSession = detached
    let result: ExecutionResult<Void, StringOutput<UTF8>, StringOutput<UTF8>>
    do {
      result = try await Subprocess.run(
        line[0].contains("/") ? .path(FilePath(line[0])) : .name(line[0]),
        arguments: Arguments(Array(line.dropFirst())),
        environment: .inherit.updating(Self.environment),
        workingDirectory: workingDirectory,
        platformOptions: options,
        input: .string(standardInput),
        output: .string(limit: 1 << 20),
        error: .string(limit: 1 << 20))
    } catch let error as SubprocessError {
      throw EmbeddedClusterError.commandFailed(
        command: line.joined(separator: " "), status: "it could not be run", output: "\(error)")
    }
    try Task.checkCancellation()
    guard result.terminationStatus.isSuccess else {
      throw EmbeddedClusterError.commandFailed(
        command: line.joined(separator: " "), status: "\(result.terminationStatus)",
        output: String((result.standardOutput + result.standardError).suffix(4_096)))
    }
    return result.standardOutput
  }
}
