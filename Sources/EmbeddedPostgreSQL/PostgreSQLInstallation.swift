import FoundationEssentials
import Subprocess
public import SystemPackage

/// The server programs of one PostgreSQL release: `postgres` and `initdb`, which live in one directory.
public struct PostgreSQLInstallation: Sendable, Hashable {
  /// The releases that the event store is tested with.
  public static let supportedMajors = 15...18

  /// The directory that holds `postgres` and `initdb`.
  public let binaryDirectory: FilePath

  /// The release, for example 17.
  public let major: Int

  /// Finds a supported server on this machine.
  ///
  /// Looked at in this order, the first that fits wins: the directory that `pg_config --bindir` names, the
  /// directories where Linux distributions put the server (newest release first), the directory of the
  /// `postgres` on the search path.
  ///
  /// - Parameters:
  ///   - explicit: Look in this directory and nowhere else.
  ///   - major: Accept this release only; `nil` accepts any of ``supportedMajors``. A data directory can only
  ///     be opened by the release that made it.
  /// - Throws: ``PostgreSQLInstallationError``, which names what was found and the command that installs the
  ///   rest.
  public static func find(
    at explicit: FilePath? = nil, major: Int? = nil
  ) async throws -> PostgreSQLInstallation {
    var rejected: [PostgreSQLInstallation] = []
    if let explicit {
      guard let found = await PostgreSQLInstallation(probing: explicit) else {
        throw PostgreSQLInstallationError.notFound(searched: [explicit])
      }
      if found.fits(major) { return found }
      rejected.append(found)
    } else {
      var searched: [FilePath] = []
      // A candidate costs a subprocess, so each is looked up only after those before it have failed.
      for candidates in [configuredDirectory, packagedDirectories, searchPathDirectory] {
        for directory in await candidates() where !searched.contains(directory) {
          searched.append(directory)
          guard let found = await PostgreSQLInstallation(probing: directory) else { continue }
          if found.fits(major) { return found }
          rejected.append(found)
        }
      }
      if rejected.isEmpty { throw PostgreSQLInstallationError.notFound(searched: searched) }
    }
    throw PostgreSQLInstallationError.unsuitable(found: rejected, required: major)
  }

  var server: FilePath { binaryDirectory.appending("postgres") }
  var initdb: FilePath { binaryDirectory.appending("initdb") }

  private init?(probing directory: FilePath) async {
    let server = directory.appending("postgres")
    // libpq's development package brings `pg_config`, and so the directory, without a server in it.
    guard
      FileManager.default.isExecutableFile(atPath: server.string),
      FileManager.default.isExecutableFile(atPath: directory.appending("initdb").string),
      let version = try? await ServerCommand(server, ["--version"]).output(),
      let major = Self.major(inVersion: version)
    else { return nil }
    self.binaryDirectory = directory
    self.major = major
  }

  /// Reads 15 out of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, or 18 out of `… 18beta1`.
  static func major(inVersion text: String) -> Int? {
    guard let marker = text.firstRange(of: "(PostgreSQL) ") else { return nil }
    return Int(text[marker.upperBound...].prefix { $0.isASCII && $0.isNumber })
  }

  private func fits(_ required: Int?) -> Bool {
    required.map { $0 == major } ?? Self.supportedMajors.contains(major)
  }

  private static func configuredDirectory() async -> [FilePath] {
    guard
      let path = try? await Executable.name("pg_config").resolveExecutablePath(in: .inherit),
      let output = try? await ServerCommand(path, ["--bindir"]).output()
    else { return [] }
    let directory = output.prefix { $0 != "\n" }
    return directory.isEmpty ? [] : [FilePath(String(directory))]
  }

  private static func packagedDirectories() async -> [FilePath] {
    supportedMajors.reversed().flatMap { major in
      [
        FilePath("/usr/lib/postgresql/\(major)/bin"),  // Debian, Ubuntu
        FilePath("/usr/pgsql-\(major)/bin"),  // the PostgreSQL project's own packages for Red Hat, Fedora
        FilePath("/usr/libexec/postgresql\(major)"),  // Alpine
        FilePath("/usr/lib/postgresql\(major)/bin"),  // openSUSE
      ]
    }
  }

  private static func searchPathDirectory() async -> [FilePath] {
    guard let path = try? await Executable.name("postgres").resolveExecutablePath(in: .inherit) else {
      return []
    }
    return [path.removingLastComponent()]
  }
}
