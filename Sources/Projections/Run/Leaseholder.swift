internal import EventStore
internal import FoundationEssentials
internal import PostgreSQL

/// This process, as the owner of builds that it runs.
///
/// A lease ends when it is not renewed in time: that is for an owner who hangs. One who dies is known at once: his
/// connection goes, and with it an advisory lock that he holds.
struct Leaseholder: Sendable {
  let id = UUID()
  private let log: PostgreSQLEventLog
  private let queries: ProjectionQueries
  private let milliseconds: Int64
  private let presence: Presence

  init(_ log: PostgreSQLEventLog, _ queries: ProjectionQueries, duration: Duration) {
    self.log = log
    self.queries = queries
    milliseconds = duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000
    presence = Presence(log.configuration.connection, lock: queries.leaseLock)
  }

  /// - Returns: The lease's epoch; `nil`: somebody else runs it.
  func take(_ build: ProjectionBuild) async throws -> Int64? {
    let held = await presence.hold()
    let rows = try await log.pool.execute(
      queries.takeLease, Parameters(Int32(build.number), id, held, Presence.process, milliseconds))
    return rows.isEmpty ? nil : rows.int64(0, 0)
  }

  /// - Returns: The builds that are still ours.
  func renew(_ leases: [(build: Int, epoch: Int64, rate: Int)]) async throws -> Set<Int> {
    guard !leases.isEmpty else { return [] }
    let held = await presence.hold()
    let rows = try await log.pool.execute(
      queries.renewLeases,
      Parameters(
        id, BinaryArray(leases.map { Int64($0.build) }), BinaryArray(leases.map(\.epoch)),
        BinaryArray(leases.map { Int64($0.rate) }), milliseconds, held))
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
}
