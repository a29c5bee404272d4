import EmbeddedPostgreSQL
import SystemPackage

/// The PostgreSQL that is measured on: the one given, or one of this run's own, gone afterwards.
struct Server: Sendable {
  let url: String
  private let cluster: EmbeddedCluster?

  static func given(_ url: String) -> Server { Server(url: url, cluster: nil) }

  /// Durable (fsync and synchronous_commit are on) with enough memory that both sides are not measured by its lack.
  static func start(in folder: String) async throws -> Server {
    let cluster = EmbeddedCluster(
      directory: FilePath(folder).appending("cluster"),
      settings: [
        "shared_buffers": "2GB", "max_wal_size": "16GB", "fsync": "on", "synchronous_commit": "on",
      ])
    return Server(url: try await cluster.start(), cluster: cluster)
  }

  func stop() async { try? await cluster?.destroy() }
}
