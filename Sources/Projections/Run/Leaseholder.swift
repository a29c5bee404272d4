internal import EventStore
internal import FoundationEssentials
internal import Glibc
internal import PostgreSQL
internal import Synchronization

/// This process, as the owner of builds that it runs.
///
/// A lease ends when it is not renewed in time: that is for an owner who hangs. One who dies is known at once: his
/// connection goes, and with it an advisory lock that he holds.
actor Leaseholder {
  nonisolated let id = UUID()
  private let log: PostgreSQLEventLog
  private let queries: ProjectionQueries
  private let duration: Duration
  private var presence = Int32.random(in: .min ... .max)
  private var connection: Connection?

  init(_ log: PostgreSQLEventLog, _ queries: ProjectionQueries, duration: Duration) {
    self.log = log
    self.queries = queries
    self.duration = duration
  }

  deinit { connection?.close() }

  /// Host and process id, for people.
  static let process: String = {
    var name = [CChar](repeating: 0, count: 256)
    let host =
      gethostname(&name, name.count - 1) == 0
      ? String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) : "?"
    return "\(host):\(getpid())"
  }()

  private var milliseconds: Int64 {
    duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000
  }

  /// - Returns: The lease's epoch; `nil`: somebody else runs it.
  func take(_ build: ProjectionBuild) async throws -> Int64? {
    let isPresent = await bePresent()
    let rows = try await log.pool.execute(
      queries.takeLease,
      Parameters(Int32(build.number), id, isPresent ? presence : nil, Self.process, milliseconds))
    return rows.isEmpty ? nil : rows.int64(0, 0)
  }

  /// - Returns: The builds that are still ours.
  func renew(_ leases: [(build: Int, epoch: Int64, rate: Int)]) async throws -> Set<Int> {
    guard !leases.isEmpty else { return [] }
    let isPresent = await bePresent()
    let rows = try await log.pool.execute(
      queries.renewLeases,
      Parameters(
        id, BinaryArray(leases.map { Int64($0.build) }), BinaryArray(leases.map(\.epoch)),
        BinaryArray(leases.map { Int64($0.rate) }), milliseconds, isPresent ? presence : nil))
    return Set(rows.indices.map { Int(rows.int32($0, 0)) })
  }

  /// Gives leases back at once: of one build, or all.
  func release(_ build: Int? = nil) async {
    // Whatever has become of this task: or the next owner would have to wait.
    let (log, queries, id) = (log, queries, id)
    await Task {
      _ = try? await log.pool.execute(queries.releaseLeases, Parameters(id, build.map { Int32($0) }))
    }.value
  }

  /// Holds the advisory lock. Behind a proxy that shares sessions there is none: then only time ends a lease.
  @discardableResult
  private func bePresent() async -> Bool {
    guard log.configuration.connection.preparedStatements else { return false }
    if let connection, connection.failure == nil { return true }
    connection = nil
    guard let made = try? await Connection.connect(log.configuration.connection) else { return false }
    // Another number than that of a connection which the server may not have given up yet.
    let number = Int32.random(in: .min ... .max)
    guard (try? await made.execute(queries.leaseLock, Parameters(number)).bool(0, 0)) == true, connection == nil else {
      made.close()
      return connection != nil
    }
    presence = number
    connection = made
    return true
  }
}
