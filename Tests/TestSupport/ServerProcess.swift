public import Foundation
import Glibc

/// A server of another kind, from the system's packages, in a folder of its own. It listens on this machine only.
public final class ServerProcess: @unchecked Sendable {
  // One test uses it, from one task at a time.
  public let folder: URL
  private let program: String
  private let arguments: (URL) -> [String]
  private var process: Process?

  public struct Missing: Error, CustomStringConvertible {
    public let description: String
  }

  /// - Parameter arguments: Given the folder.
  public init(_ program: String, further: [String] = [], _ arguments: @escaping (URL) -> [String]) throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("\(program)-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    self.program = program
    self.arguments = arguments
    try start(further)
  }

  /// - Parameter further: Arguments of this start.
  public func start(_ further: [String] = []) throws {
    let folders = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"]
    guard let path = folders.map({ "\($0)/\(program)" }).first(where: FileManager.default.isExecutableFile) else {
      throw Missing(description: "\(program) is not installed: run scripts/setup.sh --relays")
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments(folder) + further
    process.currentDirectoryURL = folder
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    self.process = process
  }

  /// Without a chance to write anything down.
  public func kill() {
    guard let process else { return }
    Glibc.kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    self.process = nil
  }

  public func remove() {
    kill()
    try? FileManager.default.removeItem(at: folder)
  }
}
