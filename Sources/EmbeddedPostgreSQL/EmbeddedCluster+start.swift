import Glibc
import SystemPackage

extension EmbeddedCluster {
  /// Starts the server unless it runs, making the cluster first if there is none, and returns where to
  /// connect.
  ///
  /// When the server runs already this only looks at two files and the socket. The server goes on running
  /// when this process ends, by Ctrl-C too, and holds none of its files open.
  ///
  /// - Parameter timeout: How long to wait until the server accepts connections. After a crash it replays its
  ///   log first, which can take minutes.
  /// - Returns: A connection string for libpq.
  /// - Throws: ``EmbeddedClusterError``, ``PostgreSQLInstallationError``, `CancellationError` (the server may
  ///   then be running).
  @discardableResult
  public func start(timeout: Duration = .seconds(120)) async throws -> String {
    if let connection = connectionString() { return connection }
    return try await locked {
      try await createUnlocked()
      let deadline = ContinuousClock.now + timeout
      while let server = PostmasterFile(in: files.data), server.isStopping, server.isProcessHere, .now < deadline {
        // Somebody stopped it and did not wait for that.
        try await Task.sleep(for: .milliseconds(5))
      }
      if let server = PostmasterFile(in: files.data), server.isServing {
        // Somebody started it and did not wait for it.
        return try await ready(pid: server.pid, logStart: files.size(of: files.log), timeout: timeout)
      }
      return try await startUnlocked(timeout: timeout)
    }
  }

  private func startUnlocked(timeout: Duration) async throws -> String {
    let server = try await server()
    let account = try await account()
    let socket = SocketDirectory(for: directory)
    try await prepareDirectory(for: account)
    try socket.prepare(for: account)
    try files.write(
      ServerSettings(overrides: settings, socketDirectory: socket.path).text, to: files.settings, for: account
    )
    removeStaleFiles(socket)
    rotateLog()
    let deadline = ContinuousClock.now + .seconds(10)
    while true {
      let logStart = files.size(of: files.log)
      do {
        let pid = try await launch(server, as: account)
        return try await ready(pid: pid, logStart: logStart, timeout: timeout)
      } catch EmbeddedClusterError.startFailed(_, let tail)
        where tail.contains("is still in use") && ContinuousClock.now < deadline
      {
        // The server was killed a moment ago, and its children have not noticed yet.
        try await Task.sleep(for: .milliseconds(100))
      }
    }
  }

  /// The shell leaves the server behind in a session of its own and tells its process id. `pg_ctl start` does
  /// the same, but looks for the server only every 100 ms.
  private func launch(_ server: PostgreSQLInstallation, as account: ServerAccount) async throws -> Int32 {
    let script = #"umask 077; log=$1; shift; exec "$@" </dev/null >>"$log" 2>&1 & echo $!"#
    var line = [server.server.string, "-D", files.data.string]
    // The log is opened by whom the directory belongs to: the shell enters the account, but not the namespace.
    var outer = ServerAccount.current
    if case .account = account { outer = account } else { line = account.prefix + line }
    let shell = ServerCommand(
      "/bin/sh", ["-c", script, "sh", files.log.string] + line, as: outer, in: directory)
    let output = try await shell.output(detached: true)
    guard let pid = Int32(output.prefix { $0.isNumber }) else {
      throw EmbeddedClusterError.commandFailed(
        command: line.joined(separator: " "), status: "no process id", output: output)
    }
    return pid
  }

  private func ready(pid: Int32, logStart: Int64, timeout: Duration) async throws -> String {
    let deadline = ContinuousClock.now + timeout
    while ContinuousClock.now < deadline {
      if let server = PostmasterFile(in: files.data), server.pid == pid, server.isReady,
        server.acceptsConnections, let connection = server.connectionString
      {
        return connection
      }
      guard RunningProcess(pid: pid) != nil || PostmasterFile(in: files.data)?.isServing == true else {
        throw EmbeddedClusterError.startFailed(log: files.log, tail: files.logTail(from: logStart))
      }
      try await Task.sleep(for: .milliseconds(2))
    }
    throw EmbeddedClusterError.startTimedOut(pid: pid, after: timeout, log: files.log)
  }

  /// A killed server leaves files with its process id, for its data and for its socket. The next one refuses
  /// to start while a process of that number exists: a stranger, as after the restart of a container, or what
  /// is left of the killed one where nobody collects it. To be called when no server runs; should one do so
  /// all the same, the new one still finds its shared memory in use, unless that is another container's.
  private func removeStaleFiles(_ socket: SocketDirectory) {
    _ = unlink(files.data.appending("postmaster.pid").string)
    _ = unlink(socket.path.appending(".s.PGSQL.\(ServerSettings.port).lock").string)
  }

  private func rotateLog() {
    guard files.size(of: files.log) > 16 << 20 else { return }
    try? files.rename(files.log, to: files.oldLog)
  }
}
