public import SystemPackage

/// Why a private cluster could not be made, started, stopped or removed.
public enum EmbeddedClusterError: Error, Hashable, CustomStringConvertible {
  /// A program of the server ended with an error. `output` is the end of what it printed.
  case commandFailed(command: String, status: String, output: String)

  /// The server ended before it was ready. `tail` is the end of its log.
  case startFailed(log: FilePath, tail: String)

  /// The server runs, but was not ready in time.
  case startTimedOut(pid: Int32, after: Duration, log: FilePath)

  /// The server had not ended in time after it was told to.
  case stopTimedOut(pid: Int32, after: Duration)

  /// The server answers, but its process is none of this machine's, or container's.
  case runsElsewhere(pid: Int32, data: FilePath)

  /// This process is root, which PostgreSQL refuses, and no other way to run it works here.
  case cannotRunAsRoot(directory: FilePath, reason: String)

  /// The server would run as `account`, which cannot enter the directory.
  case unreachable(directory: FilePath, account: String)

  /// The data was made by another release of PostgreSQL than the one that shall open it.
  case wrongRelease(data: FilePath, made: Int, server: Int)

  /// The directory's path holds a line break, which PostgreSQL's files about itself do not survive.
  case unsuitablePath(FilePath)

  /// The directory exists but holds no cluster.
  case notACluster(data: FilePath)

  /// The socket's directory below `/tmp` exists and is not ours alone.
  case unsafeSocketDirectory(FilePath)

  /// Another process held the cluster's lock all the time.
  case lockTimedOut(FilePath, after: Duration)

  /// The cluster to copy from does not exist.
  case templateAbsent(FilePath)

  /// The cluster to copy from is running, so that its files change.
  case templateRunning(FilePath, pid: Int32)

  /// The place for the copy already holds a cluster.
  case alreadyExists(data: FilePath)

  /// The name of a setting is malformed, or the setting belongs to the cluster itself.
  case invalidSetting(name: String)

  /// The file system or the kernel refused an operation.
  case refused(operation: String, path: FilePath, Errno)

  public var description: String {
    switch self {
    case .commandFailed(let command, let status, let output):
      return "`\(command)` failed (\(status)). It printed:\n\(output)"
    case .startFailed(let log, let tail):
      return "PostgreSQL ended before it was ready. The end of its log, \(log):\n\(tail)"
    case .startTimedOut(let pid, let duration, let log):
      return """
        PostgreSQL runs (process \(pid)) but was not ready within \(duration). After a crash it replays its \
        log first: see \(log), and start again to go on waiting, or stop the cluster.
        """
    case .stopTimedOut(let pid, let duration):
      return """
        PostgreSQL (process \(pid)) had not ended within \(duration). Close its clients and stop it again, \
        or stop it with the mode `immediate`: it recovers at the next start.
        """
    case .runsElsewhere(let pid, let data):
      return """
        The server of \(data) runs, but not as process \(pid) of this machine or container. Stop it where it was \
        started.
        """
    case .cannotRunAsRoot(let directory, let reason):
      return """
        PostgreSQL does not run as root, and nothing else works for \(directory): \(reason). Run this \
        command as an ordinary user, or install the package of the server, which makes the account `postgres`.
        """
    case .unreachable(let directory, let account):
      return """
        PostgreSQL has to run as `\(account)` here, but that account cannot enter \(directory). Use a \
        directory that it can reach (for example below /var/lib), or run this command as an ordinary user.
        """
    case .wrongRelease(let data, let made, let server):
      return """
        \(data) was made by PostgreSQL \(made), but the server is release \(server). Install release \(made) \
        (`apt-get install postgresql-\(made)`), or name the directory of its programs.
        """
    case .unsuitablePath(let path):
      return """
        The path \(path.string.debugDescription) holds a line break, which PostgreSQL's own files do not survive. Name \
        another directory.
        """
    case .notACluster(let data):
      return """
        \(data) exists but holds no PostgreSQL cluster (no file PG_VERSION). Move it away, or name another \
        place.
        """
    case .unsafeSocketDirectory(let path):
      return """
        \(path), the directory for the socket, must be a directory of ours with permissions 0700, and is \
        not. Remove it, or keep the cluster in a directory with a shorter path.
        """
    case .lockTimedOut(let path, let duration):
      return """
        Another process has been starting or stopping this cluster for more than \(duration). Find it with \
        `fuser \(path)`, and try again when it has ended.
        """
    case .templateAbsent(let data):
      return "\(data) holds no cluster to copy. Create the template first."
    case .templateRunning(let data, let pid):
      return """
        The template in \(data) is running (process \(pid)), and only a stopped one can be copied. Stop it \
        first.
        """
    case .alreadyExists(let data):
      return """
        \(data) already exists, and a copy never replaces a cluster. Destroy it first, or name another place.
        """
    case .invalidSetting(let name):
      return """
        `\(name)` cannot be set here: expected the name of a PostgreSQL setting (letters, digits, `_` and \
        `.`), and none of \(ServerSettings.reserved.sorted().joined(separator: ", ")), which belong to the \
        cluster.
        """
    case .refused(let operation, let path, let reason):
      return
        "Could not \(operation) \(path): \(reason). Check who owns it and its permissions, then try again."
    }
  }
}
