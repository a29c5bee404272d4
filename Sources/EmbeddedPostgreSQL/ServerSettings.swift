import SystemPackage

/// The configuration of a private cluster, written anew before each start.
struct ServerSettings {
  /// Settings that hold the cluster together; the caller cannot change them.
  static let reserved: Set<String> = [
    "data_directory", "listen_addresses", "port", "unix_socket_directories", "unix_socket_permissions",
  ]

  /// One number in the socket's name. The socket stands in a directory of its own, so it collides with
  /// nothing.
  static let port = 5432

  /// Durable, for one machine that does other things too.
  static let defaults: [String: String] = [
    "cluster_name": "eventstore",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "max_connections": "100",
    "max_prepared_transactions": "20",
    "min_wal_size": "256MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    "random_page_cost": "1.1",
    // Compiling a short query costs more than running it.
    "jit": "off",
    "log_checkpoints": "off",
    // Keys and payloads travel as parameters; no log may hold them.
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_timezone": "UTC",
    "timezone": "UTC",
  ]

  private let lines: [String]

  /// - Throws: ``EmbeddedClusterError/invalidSetting(name:)``.
  init(overrides: [String: String], socketDirectory: FilePath) throws(EmbeddedClusterError) {
    for name in overrides.keys {
      let isName = !name.isEmpty && name.utf8.allSatisfy(Self.isNameByte)
      guard isName, !Self.reserved.contains(name.lowercased()) else { throw .invalidSetting(name: name) }
    }
    var all = Self.defaults
    for (name, value) in overrides { all[name.lowercased()] = value }
    all["listen_addresses"] = ""
    all["port"] = "\(Self.port)"
    all["unix_socket_permissions"] = "0700"
    // A list of directories, in which double quotes keep a comma or a space inside one.
    all["unix_socket_directories"] = "\"\(Self.doubling("\"", in: socketDirectory.string))\""
    lines = all.sorted { $0.key < $1.key }.map { name, value in "\(name) = \(Self.quoted(value))" }
  }

  var text: String {
    """
    # Written by the event store before each start: change the settings it is given, not this file.
    \(lines.joined(separator: "\n"))

    """
  }

  /// A value as the server's configuration file reads it.
  static func quoted(_ value: String) -> String {
    let escaped = doubling("'", in: doubling("\\", in: value))
    return "'\(escaped.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\\n"))'"
  }

  private static func doubling(_ mark: Character, in text: String) -> String {
    var result = ""
    for character in text { result += character == mark ? "\(mark)\(mark)" : "\(character)" }
    return result
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."):
      true
    default: false
    }
  }
}
