import Testing

@testable import EmbeddedPostgreSQL

@Suite("A copy of a cluster", .timeLimit(.minutes(15)))
struct ClusterCopyTests {
  @Test("has the template's data and a life of its own")
  func independent() async throws {
    try await ClusterFixture.withCluster { template in
      _ = try await ClusterFixture.query(template.start(), "create table kept as select 42 as answer")
      try await template.stop()
      let copy = try await EmbeddedCluster.create(copyOf: template, at: ClusterFixture.newDirectory("copy"))
      try await ClusterFixture.cleaningUp(copy) {
        let connection = try await copy.start()
        #expect(try await ClusterFixture.query(connection, "select answer from kept") == "42")
        _ = try await ClusterFixture.query(connection, "drop table kept")
        #expect(try await ClusterFixture.query(template.start(), "select answer from kept") == "42")
      }
    }
  }

  @Test("is not taken from a running cluster, from none, nor put over another")
  func refused() async throws {
    try await ClusterFixture.withCluster { template in
      let place = ClusterFixture.newDirectory("copy")
      await #expect(throws: EmbeddedClusterError.alreadyExists(data: template.files.data)) {
        try await ClusterFixture.withCluster(at: template.directory) { _ in }
      }
      try await template.start()
      let running = await #expect(throws: EmbeddedClusterError.self) {
        try await EmbeddedCluster.create(copyOf: template, at: place)
      }
      #expect(running?.description.contains("Stop it first") == true)
      let absent = EmbeddedCluster(directory: place)
      await #expect(throws: EmbeddedClusterError.templateAbsent(absent.files.data)) {
        try await EmbeddedCluster.create(copyOf: absent, at: ClusterFixture.newDirectory())
      }
    }
  }
}
