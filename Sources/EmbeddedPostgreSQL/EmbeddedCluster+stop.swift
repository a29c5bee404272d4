import FoundationEssentials
import Glibc
import SystemPackage

extension EmbeddedCluster {
  /// Stops the server and waits until it has ended. Returns at once when none runs.
  ///
  /// - Parameter orAtOnce: Where it has not ended by then it is told to do so at once, and recovers at its next start;
  ///   this is called before. `nil`: that is an error.
  /// - Throws: ``EmbeddedClusterError``, `CancellationError` (the server goes on stopping).
  public func stop(
    mode: StopMode = .fast, timeout: Duration = .seconds(60), orAtOnce: (@Sendable () -> Void)? = nil
  ) async throws {
    guard PostmasterFile(in: files.data) != nil else { return }
    // All of it in one go: nobody starts another server meanwhile, which would be the one that is stopped.
    try await locked {
      do { try await stopUnlocked(mode: mode, timeout: timeout) } catch let error as EmbeddedClusterError {
        guard let orAtOnce, case .stopTimedOut = error else { throw error }
        orAtOnce()
        try await stopUnlocked(mode: .immediate, timeout: .seconds(60))
      }
    }
  }

  /// Stops the server and removes the cluster with all its data. Files that the caller keeps in the same
  /// directory stay; the directory itself goes when it is empty.
  ///
  /// - Throws: ``EmbeddedClusterError``, `CancellationError`.
  public func destroy() async throws {
    guard files.exists(directory) else { return }
    try await locked {
      try await stopUnlocked(mode: .immediate, timeout: .seconds(60))
      SocketDirectory(for: directory).removeIfOutside()
      // The lock goes last: until then nobody makes a new cluster here.
      for entry in files.ownEntries where entry != files.lock { try remove(entry) }
      try remove(files.lock)
      _ = rmdir(directory.string)
    }
  }

  private func stopUnlocked(mode: StopMode, timeout: Duration) async throws {
    guard let server = PostmasterFile(in: files.data), server.isServing else { return }
    guard server.isProcessHere else { throw EmbeddedClusterError.runsElsewhere(pid: server.pid, data: files.data) }
    guard kill(server.pid, mode.signal) == 0 || errno == ESRCH else {
      throw EmbeddedClusterError.refused(
        operation: "stop process \(server.pid), the server of", path: files.data, Errno(rawValue: errno))
    }
    let deadline = ContinuousClock.now + timeout
    while RunningProcess(pid: server.pid) != nil {
      guard ContinuousClock.now < deadline else {
        throw EmbeddedClusterError.stopTimedOut(pid: server.pid, after: timeout)
      }
      try await Task.sleep(for: .milliseconds(2))
    }
  }

  private func remove(_ entry: FilePath) throws {
    do {
      try FileManager.default.removeItem(atPath: entry.string)
    } catch {
      guard files.exists(entry) else { return }
      throw EmbeddedClusterError.refused(operation: "remove", path: entry, Errno(rawValue: errno))
    }
  }
}

extension EmbeddedCluster.StopMode {
  fileprivate var signal: CInt {
    switch self {
    case .smart: SIGTERM
    case .fast: SIGINT
    case .immediate: SIGQUIT
    }
  }
}
