import FoundationEssentials
import Glibc
import SystemPackage

/// `postmaster.pid`, by which a running server says who and where it is. A killed server leaves it behind.
struct PostmasterFile: Hashable {
  let pid: Int32
  private(set) var dataDirectory: String
  private(set) var socketDirectory: FilePath?
  let port: Int?
  let isReady: Bool
  let isStopping: Bool

  init?(in dataDirectory: FilePath) {
    let path = dataDirectory.appending("postmaster.pid").string
    guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { return nil }
    self.init(text: text)
    // A copy of another cluster's directory has its file, too, and must not be taken for that cluster. Nor for a stopped one
    // without a look: in another container the same data may have the name that other data have here.
    var (recorded, asked) = (stat(), stat())
    if stat(self.dataDirectory, &recorded) == 0, stat(dataDirectory.string, &asked) == 0,
      recorded.st_ino != asked.st_ino || recorded.st_dev != asked.st_dev
    {
      self.dataDirectory = dataDirectory.string
      socketDirectory = SocketDirectory(for: dataDirectory.removingLastComponent()).path
    }
    // From elsewhere, as from another container that shares the directory, its socket may have another name.
    if let recorded = socketDirectory, access(recorded.string, F_OK) != 0 {
      socketDirectory = SocketDirectory(for: dataDirectory.removingLastComponent()).path
    }
  }

  /// Process id, data directory, start time, port, socket directory, address, shared memory key, status: one
  /// a line, the later ones added while the server starts.
  init?(text: String) {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    guard let first = lines.first, let pid = Int32(first), pid > 0 else { return nil }
    self.pid = pid
    dataDirectory = lines.count > 1 ? String(lines[1]) : ""
    port = lines.count > 3 ? Int(lines[3]) : nil
    socketDirectory = lines.count > 4 && !lines[4].isEmpty ? FilePath(String(lines[4])) : nil
    isReady = lines.count > 7 && lines[7].hasPrefix("ready")
    isStopping = lines.count > 7 && lines[7].hasPrefix("stopping")
  }

  /// Whether the server of this data runs: here, or in another container, where process ids mean nothing here.
  var isServing: Bool { isProcessHere || acceptsConnections }

  /// Whether the process is the server of this data, not a stranger that has the same number.
  var isProcessHere: Bool {
    guard !dataDirectory.isEmpty, let process = RunningProcess(pid: pid) else { return false }
    return process.arguments.contains(dataDirectory) || process.workingDirectory == dataDirectory
  }

  /// Whether somebody listens on the socket.
  var acceptsConnections: Bool {
    guard let socketDirectory, let port else { return false }
    return UnixSocket.accepts(at: socketDirectory.appending(".s.PGSQL.\(port)"))
  }

  /// Where libpq finds the server, whatever its variables, or a service, say of another one and of how to go there.
  var connectionString: String? {
    guard let socketDirectory, let port else { return nil }
    let host = socketDirectory.string
    let plain = host.utf8.allSatisfy { $0 != 0x20 && $0 != 0x27 && $0 != 0x5C }
    let escaped =
      plain ? host : "'\(host.reduce(into: "") { $0 += $1 == "'" || $1 == "\\" ? "\\\($1)" : "\($1)" })'"
    return "host=\(escaped) port=\(port) dbname=\(EmbeddedCluster.database) user=\(EmbeddedCluster.role) hostaddr='' "
      + "options='' target_session_attrs=primary sslmode=disable gssencmode=disable channel_binding=disable"
  }
}
