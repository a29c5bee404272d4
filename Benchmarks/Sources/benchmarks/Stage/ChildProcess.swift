import FoundationEssentials
import Subprocess
import SystemPackage

/// Other processes that take part: this program again, as a worker, or the command line tool.
enum ChildProcess {
  /// Runs this program as a worker and gives what it prints. The connection string, which may hold a password, goes
  /// through the environment.
  static func worker<Result: Decodable>(
    _ arguments: [String], url: String, as type: Result.Type
  ) async throws -> Result {
    let text = try await run(
      FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"), ["worker"] + arguments,
      ["EVENTSTORE_URL": url])
    return try JSONDecoder().decode(type, from: Data(text.utf8))
  }

  /// - Parameter environment: Changes to this process's own; `nil` removes a variable.
  @discardableResult
  static func run(
    _ executable: String, _ arguments: [String], _ environment: [String: String?]
  ) async throws -> String {
    let changes = Dictionary(
      uniqueKeysWithValues: environment.map { (Environment.Key(stringLiteral: $0.key), $0.value) })
    let result = try await Subprocess.run(
      .path(FilePath(executable)), arguments: Arguments(arguments),
      environment: .inherit.updating(changes), output: .string(limit: 1 << 20), error: .string(limit: 1 << 20))
    guard result.terminationStatus.isSuccess else {
      throw Problem("\(executable) failed (\(result.terminationStatus)): \(result.standardError)")
    }
    return result.standardOutput
  }
}
