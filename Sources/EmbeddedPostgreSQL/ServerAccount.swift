import Glibc
import SystemPackage

/// Under which account the server runs. PostgreSQL refuses to run as root, and data directories belong to
/// whoever runs the server.
enum ServerAccount: Sendable, Hashable {
  /// Whoever runs this process.
  case current

  /// Root, in a user namespace without a mapping: there the server sees an ordinary user, while its files
  /// stay root's and no account is needed.
  case userNamespace

  /// Another account, entered from root.
  case account(user: UInt32, group: UInt32, name: String)

  /// Chooses the account for a data directory that belongs to `owner` (`nil`: it does not exist yet).
  ///
  /// - Throws: ``EmbeddedClusterError/cannotRunAsRoot(directory:reason:)``.
  static func choose(owner: UInt32?, directory: FilePath) async throws -> ServerAccount {
    guard geteuid() == 0 else { return .current }
    if let owner, owner != 0 {
      guard let account = account(of: owner) else {
        throw EmbeddedClusterError.cannotRunAsRoot(
          directory: directory, reason: "the data belongs to user id \(owner), which has no account here")
      }
      return account
    }
    do {
      try await ServerCommand("/bin/true", [], as: .userNamespace).output()
      return .userNamespace
    } catch is EmbeddedClusterError {
      guard let account = account(named: "postgres") else {
        throw EmbeddedClusterError.cannotRunAsRoot(
          directory: directory,
          reason: "`unshare -U` fails here (no user namespaces), and there is no account `postgres`")
      }
      return account
    }
  }

  /// What stands in front of a command line to run it under this account.
  ///
  /// (Not the options of Subprocess, whose child would change its account itself, between fork and exec: there glibc waits
  /// for threads of its parent that were just being made, for ever, with the parent's locks in hand.)
  var prefix: [String] {
    switch self {
    case .current: []
    case .userNamespace: ["unshare", "-U"]
    case .account(let user, let group, _):
      ["setpriv", "--reuid", "\(user)", "--regid", "\(group)", "--clear-groups", "--"]
    }
  }

  /// The user and group that files made for the server must be given to; `nil` when they are right as made.
  var owner: (user: UInt32, group: UInt32)? {
    if case .account(let user, let group, _) = self { (user, group) } else { nil }
  }

  private static func account(of user: UInt32) -> ServerAccount? {
    account { record, buffer, size, found in getpwuid_r(user, record, buffer, size, found) }
  }

  static func account(named name: String) -> ServerAccount? {
    account { record, buffer, size, found in getpwnam_r(name, record, buffer, size, found) }
  }

  private static func account(
    _ lookUp: (
      UnsafeMutablePointer<passwd>, UnsafeMutablePointer<CChar>, Int,
      UnsafeMutablePointer<UnsafeMutablePointer<passwd>?>
    ) -> CInt
  ) -> ServerAccount? {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 16_384) { buffer in
      guard let base = buffer.baseAddress else { return nil }
      var record = passwd()
      var found: UnsafeMutablePointer<passwd>?
      guard lookUp(&record, base, buffer.count, &found) == 0, found != nil else { return nil }
      return .account(
        user: record.pw_uid, group: record.pw_gid, name: record.pw_name.map { String(cString: $0) } ?? "")
    }
  }
}
