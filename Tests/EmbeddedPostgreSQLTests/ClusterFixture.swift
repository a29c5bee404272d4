import FoundationEssentials
import Glibc
import SystemPackage

@testable import EmbeddedPostgreSQL

/// One template for the whole run: making a cluster takes longer than copying one.
enum ClusterFixture {
  private static let template = Task {
    let cluster = EmbeddedCluster(directory: newDirectory("template"), settings: ["fsync": "off"])
    try await cluster.createIfAbsent()
    return cluster
  }

  /// Short, because a socket's path must be. Removed when the test process ends.
  private static let root: FilePath = {
    atexit { try? FileManager.default.removeItem(atPath: "/tmp/eventstore-test-\(getpid())") }
    return FilePath("/tmp/eventstore-test-\(getpid())")
  }()

  static func newDirectory(_ name: String = "cluster") -> FilePath {
    root.appending("\(UInt32.random(in: .min ... .max))").appending(name)
  }

  /// Runs `body` with a fresh cluster, not started, and removes it afterwards.
  static func withCluster(
    at directory: FilePath = newDirectory(), settings: [String: String] = [:],
    _ body: (EmbeddedCluster) async throws -> Void
  ) async throws {
    let settings = settings.merging(["shared_buffers": "16MB", "min_wal_size": "32MB"]) { mine, _ in mine }
    let cluster = try await EmbeddedCluster.create(copyOf: template.value, at: directory, settings: settings)
    try await cleaningUp(cluster) { try await body(cluster) }
  }

  static func cleaningUp(_ cluster: EmbeddedCluster, _ body: () async throws -> Void) async throws {
    do {
      try await body()
    } catch {
      try? await cluster.destroy()
      throw error
    }
    try await cluster.destroy()
  }

  /// What one statement returns, by the client program of the server's package.
  static func query(_ connection: String, _ statement: String) async throws -> String {
    let psql = try await PostgreSQLInstallation.find().binaryDirectory.appending("psql")
    let output = try await ServerCommand(psql, ["-X", "-A", "-t", "-d", connection, "-c", statement]).output()
    return String(output.dropLast(output.hasSuffix("\n") ? 1 : 0))
  }
}
