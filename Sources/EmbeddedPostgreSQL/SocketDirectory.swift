import Glibc
import SystemPackage

/// The directory of the server's socket: `socket/` in the cluster's directory, or, where that path would be
/// too long for a socket, one below `/tmp` that is named by a hash of the cluster's directory.
struct SocketDirectory: Hashable {
  let path: FilePath
  let isBesideData: Bool

  init(for directory: FilePath) {
    // Two names of one directory must lead to one socket.
    let real = realpath(directory.string, nil).map { pointer in
      defer { free(pointer) }
      return String(cString: pointer)
    }
    let directory = FilePath(real ?? directory.string)
    let near = directory.appending("socket")
    let length = near.string.utf8.count + "/.s.PGSQL.\(ServerSettings.port)".utf8.count
    // libpq takes a comma in `host` for the end of the first of several hosts.
    isBesideData = length <= UnixSocket.longestPath && !near.string.contains(",")
    path = isBesideData ? near : FilePath("/tmp/eventstore-\(Self.hash(directory.string))")
  }

  /// Makes it, for the server alone.
  ///
  /// - Throws: ``EmbeddedClusterError/unsafeSocketDirectory(_:)`` when somebody else was there first: `/tmp`
  ///   is everybody's, and a client must not be led to a stranger's server.
  func prepare(for account: ServerAccount) throws {
    if mkdir(path.string, 0o700) == 0 {
      if let owner = account.owner { _ = lchown(path.string, owner.user, owner.group) }
      return
    }
    guard errno == EEXIST else {
      throw EmbeddedClusterError.refused(operation: "create", path: path, Errno(rawValue: errno))
    }
    let expected = account.owner?.user ?? geteuid()
    var status = stat()
    guard lstat(path.string, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
      throw EmbeddedClusterError.unsafeSocketDirectory(path)
    }
    // Our own from an earlier start under another account.
    if status.st_uid == geteuid(), let owner = account.owner,
      lchown(path.string, owner.user, owner.group) == 0
    {
      status.st_uid = owner.user
    }
    guard status.st_uid == expected, status.st_mode & 0o077 == 0 else {
      throw EmbeddedClusterError.unsafeSocketDirectory(path)
    }
  }

  /// Removes what stands outside the cluster's directory.
  func removeIfOutside() {
    guard !isBesideData else { return }
    _ = unlink(path.appending(".s.PGSQL.\(ServerSettings.port)").string)
    _ = unlink(path.appending(".s.PGSQL.\(ServerSettings.port).lock").string)
    _ = rmdir(path.string)
  }

  /// FNV-1a: stable over processes, unlike Swift's own hashes.
  private static func hash(_ text: String) -> String {
    let hash = text.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    return String(hash, radix: 16)
  }
}
