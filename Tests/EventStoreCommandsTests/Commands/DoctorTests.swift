import Foundation
import TestSupport
import Testing

extension CommandLineTests {
  @Suite("The doctor")
  struct DoctorTests {
    @Test(
      "where a standby is waited for, a role that could not hear of a cancelled wait is told", .timeLimit(.minutes(15)))
    func standbys() async throws {
      try await IsolatedServer.with { server in
        var esctl = try EsctlRunner(server.database)
        defer { esctl.remove() }
        let problem = "would be told as safe"
        esctl.environment["EVENTSTORE_URL"] =
          "\(server.database.connectionString) options='-c client_min_messages=error'"
        #expect(try await !esctl("doctor").standardOutput.contains(problem))
        try await server.waitForStandby("nobody")
        let output = try await esctl("doctor")
        #expect(output.status == 1 && output.standardOutput.contains(problem), "\(output)")
        esctl.environment["EVENTSTORE_URL"] = server.database.connectionString
        #expect(try await !esctl("doctor").standardOutput.contains(problem))
      }
    }
  }
}
