import Dispatch
import EmbeddedPostgreSQL
import EventStore
import FoundationEssentials
import Glibc
import PostgreSQL
import SystemPackage

/// The PostgreSQL server of this test process: one for all ordinary tests, not durable, gone when the process ends.
///
/// Everything is below one folder of the user's in the temporary directory: the template cluster, which is made once
/// and kept from run to run, and a folder a process, `run-<process id>`.
enum TestServer {
  /// Databases are copied from this one: an up-to-date, empty store in schema `eventstore`.
  static let templateDatabase = "template_store"

  private static let root = FilePath(FileManager.default.temporaryDirectory.path)
    .appending("eventstore-tests-\(getuid())")
  private static let runFolder = root.appending("run-\(getpid())")

  /// The connection string of the running server, its database `postgres`.
  static let administration = Task { try await start() }

  private static let template = Task {
    try FileManager.default.createDirectory(
      atPath: root.string, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    await removeLeftovers()
    let installation = try await PostgreSQLInstallation.find()
    let cluster = EmbeddedCluster(
      directory: root.appending("template-\(installation.major)"), installation: installation,
      settings: ["fsync": "off"])
    try await cluster.createIfAbsent()
    atexit { TestServer.removeAtExit() }
    return cluster
  }

  /// A copy of the template cluster in this process's folder, not started.
  static func copy(_ name: String, settings: [String: String]) async throws -> EmbeddedCluster {
    try await EmbeddedCluster.create(
      copyOf: template.value, at: runFolder.appending(name), settings: small.merging(settings) { $1 })
  }

  private static let small = [
    "shared_buffers": "64MB", "min_wal_size": "32MB", "max_prepared_transactions": "20", "autovacuum": "off",
  ]

  private static func start() async throws -> String {
    let cluster = try await copy(
      "shared",
      settings: [
        "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "300",
      ])
    let administration = ConnectionString.withDatabase("postgres", in: try await cluster.start())
    try await sql(administration, "CREATE DATABASE \(templateDatabase)")
    try await Migrator(
      ConnectionConfiguration(ConnectionString.withDatabase(templateDatabase, in: administration))
    ).migrate()
    try await sql(administration, "ALTER DATABASE \(templateDatabase) WITH ALLOW_CONNECTIONS false")
    return administration
  }

  /// With patience: making and dropping a database waits for the disk, and for every process of the server.
  static func sql(_ connectionString: String, _ text: String) async throws {
    let connection = try await Connection.connect(ConnectionConfiguration(connectionString))
    defer { connection.close() }
    try await connection.script(text, timeout: .seconds(300))
  }

  // MARK: Ending

  private static func clusters(in folder: FilePath) -> [EmbeddedCluster] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.string)) ?? []
    return names.map { EmbeddedCluster(directory: folder.appending($0)) }
  }

  /// What runs have left that were killed.
  private static func removeLeftovers() async {
    for name in (try? FileManager.default.contentsOfDirectory(atPath: root.string)) ?? [] {
      guard name.hasPrefix("run-"), let pid = Int32(name.dropFirst(4)), kill(pid, 0) != 0, errno == ESRCH
      else {
        continue
      }
      await remove(root.appending(name))
    }
  }

  private static func remove(_ folder: FilePath) async {
    for cluster in clusters(in: folder) { try? await cluster.destroy() }
    try? FileManager.default.removeItem(atPath: folder.string)
  }

  /// Called on the thread that ends the process; the others still run.
  private static func removeAtExit() {
    let isDone = DispatchSemaphore(value: 0)
    Task.detached {
      await remove(runFolder)
      isDone.signal()
    }
    _ = isDone.wait(timeout: .now() + 20)
  }
}
