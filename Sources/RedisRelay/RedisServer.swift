#if Redis
  internal import FoundationEssentials

  /// Where a Redis server is, and who is to be there.
  public struct RedisServer: Sendable, Hashable {
    enum Address: Sendable, Hashable {
      case tcp(host: String, port: Int32)
      case unix(path: String)
    }
    let address: Address
    let user: String?
    let password: String?
    let database: Int

    /// Connects nowhere. The port is 6379 and the database 0, unless it says otherwise. A user without a password is
    /// not heeded.
    ///
    /// - Parameter url: `redis://[user:password@]host[:port][/database]`, or
    ///   `unix://[user:password@]/path/to/socket[?db=0]`.
    /// - Throws: ``InvalidRedisServer``.
    public init(_ url: String) throws(InvalidRedisServer) {
      guard let parts = URLComponents(string: url) else { throw InvalidRedisServer(problem: "it is no URL") }
      // Without its own name and password a URL may be told to anyone.
      user = parts.user.flatMap { $0.isEmpty ? nil : $0 }
      password = parts.password
      switch parts.scheme {
      case "redis":
        guard let host = parts.host, !host.isEmpty else { throw InvalidRedisServer(problem: "it names no host") }
        address = .tcp(host: host, port: Int32(clamping: parts.port ?? 6379))
        let path = parts.path.drop { $0 == "/" }
        database = try Self.database(path.isEmpty ? "0" : String(path))
      case "unix":
        guard !parts.path.isEmpty else { throw InvalidRedisServer(problem: "it names no socket") }
        address = .unix(path: parts.path)
        database = try Self.database(parts.queryItems?.first { $0.name == "db" }?.value ?? "0")
      case "rediss":
        throw InvalidRedisServer(problem: "TLS is not spoken here: put a tunnel before the server, on this machine")
      default:
        throw InvalidRedisServer(problem: "expected redis://host:6379/0 or unix:///path/to/socket")
      }
    }

    private static func database(_ text: String) throws(InvalidRedisServer) -> Int {
      guard let number = Int(text), number >= 0 else {
        throw InvalidRedisServer(problem: "the database is no number from 0 on")
      }
      return number
    }
  }

  extension RedisServer: CustomStringConvertible, CustomDebugStringConvertible {
    /// Without the user and the password.
    public var description: String {
      switch address {
      case .tcp(let host, let port): "redis://\(host):\(port)/\(database)"
      case .unix(let path): "unix://\(path)?db=\(database)"
      }
    }
    public var debugDescription: String { description }
  }

  /// It is no address of a Redis server.
  public struct InvalidRedisServer: Error, Sendable, Hashable, CustomStringConvertible {
    /// Nothing of the URL is in it, which may hold a password.
    public let problem: String
    public var description: String { "Redis server: \(problem)" }
  }
#endif
