internal import Glibc

/// A file that takes its name only when it is complete, so that a failure leaves what stood there before. Readable by
/// its owner only.
final class OutputFile {
  let output: StandardOutput
  private let path: String
  private let temporaryPath: String?
  private let descriptor: Int32
  private var isComplete = false

  /// - Throws: ``CommandFailure`` when it cannot be made.
  init(path: String) throws {
    var status = stat()
    let isThere = stat(path, &status) == 0
    // A symbolic link stays one: the file that it names is written.
    if isThere, let real = realpath(path, nil) {
      self.path = String(cString: real)
      free(real)
    } else {
      self.path = path
    }
    // A device or a pipe is written as it is.
    let isSpecial = isThere && status.st_mode & S_IFMT != S_IFREG
    temporaryPath = isSpecial ? nil : self.path + ".partial"
    descriptor =
      if let temporaryPath { try Self.openAlone(temporaryPath, for: path) } else { open(path, O_WRONLY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw Self.failure(path) }
    output = StandardOutput(file: descriptor)
  }

  /// An empty file that no other process writes, as long as it is open. One that a killed process left is taken over.
  private static func openAlone(_ temporaryPath: String, for path: String) throws -> Int32 {
    while true {
      let descriptor = open(temporaryPath, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
      guard descriptor >= 0 else { throw failure(path) }
      // Where a file system has no locks, they are gone without.
      if flock(descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
        close(descriptor)
        throw CommandFailure(.failed, "cannotWrite", "cannot write \(path): another process writes \(temporaryPath)")
      }
      var (own, named) = (stat(), stat())
      // Another process may have completed it, or given it up, before the lock was ours.
      if fstat(descriptor, &own) == 0, lstat(temporaryPath, &named) == 0, own.st_ino == named.st_ino {
        guard own.st_mode & S_IFMT == S_IFREG, own.st_uid == geteuid(), own.st_nlink == 1, own.st_mode & 0o777 == 0o600
        else {
          close(descriptor)
          throw CommandFailure(
            .failed, "cannotWrite",
            "cannot write \(path): \(temporaryPath) is there and is none that an earlier export left; move it away")
        }
        if ftruncate(descriptor, 0) == 0 { return descriptor }
        close(descriptor)
        throw failure(path)
      }
      close(descriptor)
    }
  }

  /// Makes sure that everything is on disk, and gives the file its name.
  func complete() throws {
    output.flush()
    try StandardOutput.checkArrival(in: path)
    guard let temporaryPath else { return }
    guard fsync(descriptor) == 0, rename(temporaryPath, path) == 0 else { throw Self.failure(path) }
    isComplete = true
  }

  deinit {
    // Before another process may have one of this name.
    if let temporaryPath, !isComplete { unlink(temporaryPath) }
    close(descriptor)
  }

  private static func failure(_ path: String) -> CommandFailure {
    CommandFailure(.failed, "cannotWrite", "cannot write \(path): \(String(cString: strerror(errno)))")
  }
}
