public import SystemPackage

/// A private PostgreSQL cluster in a directory: made on first use, durable, reached through a Unix socket
/// only.
///
/// ```swift
/// let cluster = EmbeddedCluster(directory: ".eventstore")
/// let connection = try await cluster.start()  // host=…/.eventstore/socket port=5432 dbname=eventstore …
/// // …
/// try await cluster.stop()
/// ```
///
/// The server belongs to nobody: it outlives the process that started it, until ``stop(mode:timeout:)``.
/// Several processes may call any of these methods at once; they take turns. Whoever can enter the directory
/// (its owner, and root) is let in as the superuser `eventstore`, without a password.
///
/// As root, where PostgreSQL refuses to run, the server runs in a user namespace, or as the account
/// `postgres`, or as the owner of existing data.
public struct EmbeddedCluster: Sendable {
  /// The database that a new cluster has.
  public static let database = "eventstore"

  /// The superuser that a new cluster has.
  public static let role = "eventstore"

  /// Where the cluster lives.
  public var directory: FilePath { files.directory }

  /// What the server says, for people to read.
  public var log: FilePath { files.log }

  let files: ClusterFiles
  let installation: PostgreSQLInstallation?
  let settings: [String: String]

  /// For tests: the account to run as, instead of the one chosen.
  var forcedAccount: ServerAccount?

  /// Describes a cluster; touches nothing.
  ///
  /// - Parameters:
  ///   - directory: Where it lives or shall live. A relative path counts from the working directory of now.
  ///   - installation: The server to use; `nil` finds one when it is needed, of the release that made the
  ///     data.
  ///   - settings: Settings of PostgreSQL on top of the cluster's own, by name, for example
  ///     `["shared_buffers": "1GB"]`. They hold from the next start on.
  public init(
    directory: FilePath, installation: PostgreSQLInstallation? = nil, settings: [String: String] = [:]
  ) {
    self.files = ClusterFiles(directory)
    self.installation = installation
    self.settings = settings
  }

  /// Whether a cluster exists, and whether it runs.
  public enum Status: Sendable, Hashable {
    /// There is no cluster in the directory.
    case absent
    /// There is one, and no server runs on it.
    case stopped
    /// A server runs on it, as this process.
    case running(pid: Int32)
  }

  /// How the server ends.
  public enum StopMode: Sendable, Hashable, CaseIterable {
    /// Waits until all clients have gone.
    case smart
    /// Rolls back what is open, disconnects all clients and writes a checkpoint.
    case fast
    /// Ends at once, as in a crash: nothing that was committed is lost, the next start recovers.
    case immediate
  }

  /// Looks at files and at the process table; starts no process and takes no lock.
  public func status() async -> Status {
    guard files.hasCluster else { return .absent }
    guard let server = PostmasterFile(in: files.data), server.isServing else { return .stopped }
    return .running(pid: server.pid)
  }

  /// The connection string of the server when it runs and accepts connections.
  public func connectionString() -> String? {
    guard let server = PostmasterFile(in: files.data), server.isReady, server.isServing,
      server.acceptsConnections
    else { return nil }
    return server.connectionString
  }

  /// Runs `body` while no other process makes, starts, stops or removes this cluster.
  func locked<Result>(
    timeout: Duration = .seconds(180), _ body: () async throws -> Result
  ) async throws -> Result {
    guard directory.string.utf8.allSatisfy({ $0 != 0x0A && $0 != 0x0D }) else {
      throw EmbeddedClusterError.unsuitablePath(directory)
    }
    try files.makePrivateDirectory(directory)
    let lock = try await DirectoryLock(directory, timeout: timeout)
    let result = try await body()
    _ = consume lock
    return result
  }

  func server() async throws -> PostgreSQLInstallation {
    let made = files.major
    guard let installation else { return try await PostgreSQLInstallation.find(major: made) }
    if let made, made != installation.major {
      throw EmbeddedClusterError.wrongRelease(data: files.data, made: made, server: installation.major)
    }
    return installation
  }

  func account() async throws -> ServerAccount {
    if let forcedAccount { return forcedAccount }
    return try await ServerAccount.choose(owner: files.owner(of: files.data), directory: directory)
  }
}
