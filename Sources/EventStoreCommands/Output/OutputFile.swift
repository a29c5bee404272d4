internal import Glibc

/// A file that takes its name only when it is complete, so that a failure leaves what stood there before. Readable by
/// its owner only.
final class OutputFile {
  let output: StandardOutput
  private let path: String
  private let temporaryPath: String?
  private let descriptor: Int32

  /// - Throws: ``CommandFailure`` when it cannot be made.
  init(path: String) throws {
    self.path = path
    var status = stat()
    // A device or a pipe is written as it is.
    let isSpecial = stat(path, &status) == 0 && status.st_mode & S_IFMT != S_IFREG
    temporaryPath = isSpecial ? nil : path + ".partial"
    let flags = isSpecial ? O_WRONLY | O_CLOEXEC : O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC
    descriptor = open(temporaryPath ?? path, flags, 0o600)
    guard descriptor >= 0 else { throw Self.failure(path) }
    output = StandardOutput(file: descriptor)
  }

  /// Makes sure that everything is on disk, and gives the file its name.
  func complete() throws {
    output.flush()
    try StandardOutput.checkArrival()
    guard let temporaryPath else { return }
    guard fsync(descriptor) == 0, rename(temporaryPath, path) == 0 else { throw Self.failure(path) }
  }

  deinit {
    close(descriptor)
    // Not there any more if it was completed.
    if let temporaryPath { unlink(temporaryPath) }
  }

  private static func failure(_ path: String) -> CommandFailure {
    CommandFailure(.failed, "cannotWrite", "cannot write \(path): \(String(cString: strerror(errno)))")
  }
}
