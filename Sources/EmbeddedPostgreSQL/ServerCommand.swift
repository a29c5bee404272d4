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
        // The start reads the server's messages, so they must be in English.
        environment: .inherit.updating(["LC_ALL": "C"]),
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
