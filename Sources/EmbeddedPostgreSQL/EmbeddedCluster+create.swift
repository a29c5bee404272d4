import FoundationEssentials
import Glibc
public import SystemPackage

extension EmbeddedCluster {
  /// Makes the cluster unless there is one. Does not start it.
  ///
  /// The cluster appears in one step, complete: a run that is interrupted leaves nothing that the next one
  /// would take for a cluster.
  ///
  /// - Throws: ``EmbeddedClusterError``, ``PostgreSQLInstallationError``, `CancellationError`.
  public func createIfAbsent() async throws {
    guard !files.hasCluster else { return }
    try await locked { try await createUnlocked() }
  }

  /// Makes a cluster as a copy of one that is stopped: several times faster than making a new one, which is
  /// what a test run wants. The copy uses the same server as its template.
  ///
  /// - Parameters:
  ///   - template: An existing cluster, not running.
  ///   - directory: Where the copy shall live.
  ///   - settings: As for a new cluster. For tests, `["fsync": "off"]` saves time.
  /// - Throws: ``EmbeddedClusterError``, ``PostgreSQLInstallationError``, `CancellationError`.
  public static func create(
    copyOf template: EmbeddedCluster, at directory: FilePath, settings: [String: String] = [:]
  ) async throws -> EmbeddedCluster {
    var copy = EmbeddedCluster(directory: directory, installation: template.installation, settings: settings)
    copy.forcedAccount = template.forcedAccount
    let made = copy
    guard template.files.hasCluster else { throw EmbeddedClusterError.templateAbsent(template.files.data) }
    try await made.locked {
      guard !made.files.exists(made.files.data) else {
        throw EmbeddedClusterError.alreadyExists(data: made.files.data)
      }
      // The template's lock keeps others from starting it while its files are read.
      try await template.locked {
        if case .running(let pid) = await template.status() {
          throw EmbeddedClusterError.templateRunning(template.files.data, pid: pid)
        }
        let account = try await template.account()
        made.files.removeUnfinished()
        let unfinished = made.files.unfinished()
        do {
          try await ServerCommand("/bin/cp", ["-a", template.files.data.string, unfinished.string]).output()
          try await made.prepareDirectory(for: account)
          try made.files.rename(unfinished, to: made.files.data)
        } catch {
          try? FileManager.default.removeItem(atPath: unfinished.string)
          throw error
        }
      }
    }
    return made
  }

  /// To be called with the lock held.
  func createUnlocked() async throws {
    guard !files.hasCluster else { return }
    guard !files.exists(files.data) else { throw EmbeddedClusterError.notACluster(data: files.data) }
    // Fails early: a bad setting would otherwise be found only at the start.
    _ = try ServerSettings(overrides: settings, socketDirectory: directory)
    let server = try await server()
    let account = try await account()
    try await prepareDirectory(for: account)
    files.removeUnfinished()
    let unfinished = files.unfinished()
    do {
      try await initialise(unfinished, with: server, as: account)
      try files.rename(unfinished, to: files.data)
      // Should the power fail later, the data must not be found under the name of a leftover.
      files.sync(directory)
      files.sync(directory.removingLastComponent())
    } catch {
      try? FileManager.default.removeItem(atPath: unfinished.string)
      throw error
    }
  }

  private func initialise(
    _ data: FilePath, with server: PostgreSQLInstallation, as account: ServerAccount
  ) async throws {
    let isDurable = settings["fsync"] != "off"
    var arguments = [
      "-D", data.string, "--username", Self.role, "--auth-local=trust", "--auth-host=reject",
      "--encoding=UTF8", "--data-checksums", "--no-instructions",
      // Text is compared byte by byte: fast, and no upgrade of the C library can spoil an index. Letters of
      // all alphabets are still known where the system has the locale.
      "--locale=C", "--lc-ctype=\(Self.hasUTF8Locale ? "C.UTF-8" : "C")",
    ]
    if !isDurable { arguments.append("--no-sync") }
    try await ServerCommand(server.initdb, arguments, as: account, in: directory).output()
    try files.append(
      "\ninclude_if_exists = '\(ClusterFiles.settingsName)'\n", to: data.appending("postgresql.conf"))
    // The database is there before the cluster is, so that every cluster has it.
    try await ServerCommand(
      server.server,
      [
        "--single", "-D", data.string, "-c", "exit_on_error=on", "-c", "log_checkpoints=off",
        "-c", "fsync=\(isDurable ? "on" : "off")", "postgres",
      ],
      as: account, in: directory, standardInput: "CREATE DATABASE \(Self.database)\n"
    ).output()
  }

  /// Makes the cluster's directory the server's, when that runs as another account than this process.
  func prepareDirectory(for account: ServerAccount) async throws {
    try files.makePrivateDirectory(directory)
    guard let owner = account.owner, case .account(_, _, let name) = account else { return }
    let above = directory.removingLastComponent()
    do {
      try await ServerCommand("/bin/sh", ["-c", "cd \"$1\"", "sh", above.string], as: account, in: "/")
        .output()
    } catch is EmbeddedClusterError {
      throw EmbeddedClusterError.unreachable(directory: directory, account: name)
    }
    try files.give(directory, to: account)
    for entry in files.ownEntries where files.owner(of: entry) != owner.user {
      try await ServerCommand("/bin/chown", ["-R", "\(owner.user):\(owner.group)", entry.string]).output()
    }
  }

  private static var hasUTF8Locale: Bool {
    guard let locale = newlocale(CInt(1 << LC_CTYPE), "C.UTF-8", nil) else { return false }
    freelocale(locale)
    return true
  }
}
