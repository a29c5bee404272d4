import EmbeddedPostgreSQL
import PostgreSQL
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
        "shared_buffers": "2GB", "min_wal_size": "2GB", "max_wal_size": "16GB", "fsync": "on",
        "synchronous_commit": "on",
      ])
    let server = Server(url: try await cluster.start(), cluster: cluster)
    do {
      try await server.age()
      return server
    } catch {
      await server.stop()
      throw error
    }
  }

  /// A server that has run for a while writes over old log files, and has touched all of its memory. A new one makes
  /// each file when it first needs it, which would be a fifth of what is measured, and gets each page of memory from the
  /// system (on a virtual machine from its host), which was an eighth of the server's time. So make 2 GB of log files, and
  /// fill the shared buffers, now.
  private func age() async throws {
    let connection = try await Connection.connect(ConnectionConfiguration(url))
    defer { connection.close() }
    try await connection.script(
      """
      DO $$
      BEGIN
        FOR number IN 1 .. 128 LOOP
          PERFORM pg_logical_emit_message(false, 'benchmarks', 'a new log file');
          PERFORM pg_switch_wal();
        END LOOP;
      END
      $$
      """, timeout: .seconds(300))
    // One row a page.
    try await connection.script(
      """
      CREATE UNLOGGED TABLE filler (bytes bytea);
      ALTER TABLE filler ALTER COLUMN bytes SET STORAGE PLAIN;
      INSERT INTO filler
      SELECT convert_to(repeat('x', 7000), 'UTF8')
        FROM generate_series(1, (SELECT setting::bigint FROM pg_settings WHERE name = 'shared_buffers'));
      DROP TABLE filler
      """, timeout: .seconds(600))
    for _ in 1...2 { try await connection.script("CHECKPOINT", timeout: .seconds(300)) }
  }

  /// Also when the run was cancelled, which a task of its own does not notice.
  func stop() async { await Task { try? await cluster?.destroy() }.value }
}
