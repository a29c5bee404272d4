import Glibc
import SystemPackage

/// A lock that processes take turns on: starting, stopping and making a cluster happen one at a time. The
/// kernel frees it when its holder dies.
struct DirectoryLock: ~Copyable {
  private let descriptor: FileDescriptor

  /// Waits for the lock of `directory`, which must exist.
  ///
  /// - Throws: ``EmbeddedClusterError/lockTimedOut(_:after:)``, `CancellationError`.
  init(_ directory: FilePath, timeout: Duration) async throws {
    let path = directory.appending("lock")
    let deadline = ContinuousClock.now + timeout
    while true {
      let descriptor: FileDescriptor
      do {
        descriptor = try FileDescriptor.open(
          path, .readWrite, options: [.create, .closeOnExec, .noFollow], permissions: .ownerReadWrite)
      } catch let error as Errno {
        throw EmbeddedClusterError.refused(operation: "open", path: path, error)
      }
      if flock(descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 {
        // The file may have been removed, with its cluster, between open and lock: then the lock is worth
        // nothing.
        if Self.isSame(descriptor, path) {
          self.descriptor = descriptor
          return
        }
        try? descriptor.close()
        continue
      }
      try? descriptor.close()
      guard ContinuousClock.now < deadline else {
        throw EmbeddedClusterError.lockTimedOut(path, after: timeout)
      }
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  deinit {
    try? descriptor.close()
  }

  private static func isSame(_ descriptor: FileDescriptor, _ path: FilePath) -> Bool {
    var opened = stat()
    var named = stat()
    return fstat(descriptor.rawValue, &opened) == 0 && lstat(path.string, &named) == 0
      && opened.st_ino == named.st_ino && opened.st_dev == named.st_dev
  }
}
