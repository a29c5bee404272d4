public import EmbeddedPostgreSQL
import EventStore
import FoundationEssentials
import Glibc
import PostgreSQL
import SystemPackage

/// A durable server for one test, which may kill it.
public struct IsolatedServer: Sendable {
  public let cluster: EmbeddedCluster
  /// The database `eventstore`, with an empty store.
  public let database: TestDatabase

  /// Runs `body` with a new server and removes it afterwards. One exists at a time.
  public static func with<R>(
    settings: [String: String] = [:], _ body: (IsolatedServer) async throws -> R
  ) async throws -> R {
    await Gate.servers.enter()
    defer { Gate.servers.leave() }
    let cluster = try await TestServer.copy(
      "isolated-\(UInt32.random(in: 0...UInt32.max))", settings: settings)
    do {
      let connectionString = try await cluster.start()
      try await Migrator(ConnectionConfiguration(connectionString)).migrate()
      let database = TestDatabase(connectionString: connectionString, keyring: try .ephemeral())
      let result = try await body(IsolatedServer(cluster: cluster, database: database))
      try await cluster.destroy()
      return result
    } catch {
      try? await cluster.destroy()
      throw error
    }
  }

  /// kill -9 of the server's first process; returns when it is gone. The others notice, and end by themselves.
  public func kill() async throws {
    guard case .running(let pid) = await cluster.status() else { throw NotRunning() }
    Glibc.kill(pid, SIGKILL)
    while await cluster.status() == .running(pid: pid) { try await Task.sleep(for: .milliseconds(2)) }
  }

  /// Starts the server again; its connection string stays what it was.
  public func restart() async throws { try await cluster.start() }

  /// Starts the server again, as a standby whose primary is away or as a server of its own.
  public func setStandby(_ isStandby: Bool) async throws {
    try await cluster.stop()
    let signal = cluster.directory.appending("data/standby.signal").string
    if isStandby {
      guard FileManager.default.createFile(atPath: signal, contents: nil, attributes: nil) else { throw NotRunning() }
    } else {
      try FileManager.default.removeItem(atPath: signal)
    }
    try await restart()
  }

  /// Makes the server wait for a synchronous standby of that name; `nil`: for none.
  public func waitForStandby(_ name: String?) async throws {
    try await database.sql("ALTER SYSTEM SET synchronous_standby_names = '\(name ?? "")'")
    try await database.sql("SELECT pg_reload_conf()")
    // The checkpointer says so to all others, when it comes to it.
    let probe = Statement("SELECT pg_logical_emit_message(true, 'test', '')")
    try await database.withConnection { connection in
      for _ in 0..<50 {
        var isWaitedFor = false
        do throws(PostgreSQLError) {
          try await connection.execute(probe, timeout: .milliseconds(200))
        } catch {
          // A slow disk may use up the time before any standby is waited for.
          if error.code == .timeout { continue }
          guard error.code == .unconfirmed else { throw error }
          isWaitedFor = true
        }
        if isWaitedFor == (name != nil) { return }
      }
      throw NotRunning()
    }
  }

  /// The path of every file of the server's data folder.
  public var files: [String] { Self.files(below: cluster.directory.appending("data").string) }

  private static func files(below folder: String) -> [String] {
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { return [folder] }
    return names.flatMap { files(below: "\(folder)/\($0)") }
  }

  struct NotRunning: Error, CustomStringConvertible {
    var description: String { "the isolated server does not run, or not as it was told: its log says why" }
  }
}
