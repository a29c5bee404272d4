import FoundationEssentials
import Glibc
import SystemPackage

/// What a cluster keeps on disk, and where:
///
///     data/          the server's own
///     socket/        the Unix socket (below /tmp where this path would be too long)
///     postgres.log   what the server says
///     lock           held while a process makes, starts, stops or removes the cluster
struct ClusterFiles: Sendable, Hashable {
  let directory: FilePath

  init(_ directory: FilePath) {
    if directory.isAbsolute {
      self.directory = directory.lexicallyNormalized()
    } else {
      self.directory = FilePath(FileManager.default.currentDirectoryPath)
        .pushing(directory).lexicallyNormalized()
    }
  }

  var data: FilePath { directory.appending("data") }
  var log: FilePath { directory.appending("postgres.log") }
  var oldLog: FilePath { directory.appending("postgres.log.old") }
  var lock: FilePath { directory.appending("lock") }
  var settings: FilePath { data.appending(Self.settingsName) }

  static let settingsName = "eventstore.conf"

  /// Everything that belongs to the cluster, leftovers of interrupted runs included, and nothing else:
  /// callers may keep files of their own in the same directory.
  var ownEntries: [FilePath] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: directory.string)) ?? []
    let own: Set<String> = ["data", "socket", "postgres.log", "postgres.log.old", "lock"]
    return names.filter { own.contains($0) || $0.hasPrefix(Self.unfinishedPrefix) }.map {
      directory.appending($0)
    }
  }

  private static let unfinishedPrefix = "data.new-"

  /// A place beside `data` for a cluster in the making.
  func unfinished() -> FilePath {
    directory.appending("\(Self.unfinishedPrefix)\(String(UInt64.random(in: .min ... .max), radix: 36))")
  }

  /// What interrupted runs left. To be called with the lock held.
  func removeUnfinished() {
    for entry in ownEntries where entry.lastComponent?.string.hasPrefix(Self.unfinishedPrefix) == true {
      try? FileManager.default.removeItem(atPath: entry.string)
    }
  }

  /// Whether `data` holds a cluster.
  var hasCluster: Bool { exists(data.appending("PG_VERSION")) }

  /// The release that made the cluster.
  var major: Int? {
    guard let text = try? String(contentsOfFile: data.appending("PG_VERSION").string, encoding: .utf8) else {
      return nil
    }
    return Int(text.prefix { $0.isNumber })
  }

  func exists(_ path: FilePath) -> Bool {
    FileManager.default.fileExists(atPath: path.string)
  }

  /// The user id of the owner; `nil` when there is no such file.
  func owner(of path: FilePath) -> UInt32? {
    var status = stat()
    return lstat(path.string, &status) == 0 ? status.st_uid : nil
  }

  /// Makes a directory that only its owner can enter, with those above it. Leaves an existing one as it is.
  func makePrivateDirectory(_ path: FilePath) throws {
    guard !exists(path) else { return }
    let parent = path.removingLastComponent()
    if !exists(parent) {
      do {
        try FileManager.default.createDirectory(atPath: parent.string, withIntermediateDirectories: true)
      } catch {
        throw EmbeddedClusterError.refused(operation: "create", path: parent, Errno(error))
      }
    }
    guard mkdir(path.string, 0o700) == 0 || errno == EEXIST else {
      throw EmbeddedClusterError.refused(operation: "create", path: path, Errno(rawValue: errno))
    }
  }

  func give(_ path: FilePath, to account: ServerAccount) throws {
    guard let owner = account.owner else { return }
    guard lchown(path.string, owner.user, owner.group) == 0 else {
      throw EmbeddedClusterError.refused(operation: "change the owner of", path: path, Errno(rawValue: errno))
    }
  }

  func write(_ text: String, to path: FilePath, for account: ServerAccount) throws {
    do {
      try Data(text.utf8).write(to: URL(filePath: path.string), options: .atomic)
    } catch {
      throw EmbeddedClusterError.refused(operation: "write", path: path, Errno(error))
    }
    guard chmod(path.string, 0o600) == 0 else {
      throw EmbeddedClusterError.refused(operation: "protect", path: path, Errno(rawValue: errno))
    }
    try give(path, to: account)
  }

  func append(_ text: String, to path: FilePath) throws {
    do {
      let file = try FileDescriptor.open(path, .writeOnly, options: [.append, .closeOnExec])
      try file.closeAfter { _ = try file.writeAll(text.utf8) }
      sync(path)
    } catch let error as Errno {
      throw EmbeddedClusterError.refused(operation: "write", path: path, error)
    }
  }

  /// Moves within one file system, in one step.
  func rename(_ old: FilePath, to new: FilePath) throws {
    guard Glibc.rename(old.string, new.string) == 0 else {
      throw EmbeddedClusterError.refused(operation: "rename to \(new)", path: old, Errno(rawValue: errno))
    }
  }

  /// Has the disk keep what was written to a file, or which names stand in a directory. Some file systems
  /// cannot.
  func sync(_ path: FilePath) {
    guard let file = try? FileDescriptor.open(path, .readOnly, options: .closeOnExec) else { return }
    _ = fsync(file.rawValue)
    try? file.close()
  }

  func size(of path: FilePath) -> Int64 {
    var status = stat()
    return stat(path.string, &status) == 0 ? Int64(status.st_size) : 0
  }

  /// What was added to the log since it had `offset` bytes: the end of it, at most 4 KiB.
  func logTail(from offset: Int64) -> String {
    guard let file = try? FileDescriptor.open(log, .readOnly, options: .closeOnExec) else { return "" }
    defer { try? file.close() }
    let start = max(offset, size(of: log) - 4_096)
    guard (try? file.seek(offset: start, from: .start)) != nil else { return "" }
    let bytes = try? [UInt8](unsafeUninitializedCapacity: 4_096) { buffer, count in
      count = try file.read(into: UnsafeMutableRawBufferPointer(buffer))
    }
    return String(decoding: bytes ?? [], as: UTF8.self)
  }
}

extension Errno {
  /// The reason inside an error of the file manager, which may wrap it.
  fileprivate init(_ error: any Error) {
    if let posix = error as? POSIXError {
      self.init(rawValue: posix.code.rawValue)
    } else if let cocoa = error as? CocoaError, let posix = cocoa.underlying as? POSIXError {
      self.init(rawValue: posix.code.rawValue)
    } else {
      self = .ioError
    }
  }
}
