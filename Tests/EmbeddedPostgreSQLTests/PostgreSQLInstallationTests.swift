import SystemPackage
import Testing

@testable import EmbeddedPostgreSQL

@Suite("Finding a server")
struct PostgreSQLInstallationTests {
  @Test(
    "reads the release",
    arguments: [
      ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", 15), ("postgres (PostgreSQL) 18beta1\n", 18),
      ("postgres (PostgreSQL) 17.2", 17),
    ])
  func release(text: String, major: Int) {
    #expect(PostgreSQLInstallation.major(inVersion: text) == major)
  }

  @Test(
    "does not read a release where there is none",
    arguments: ["", "postgres 15", "postgres (PostgreSQL) devel"])
  func noRelease(text: String) {
    #expect(PostgreSQLInstallation.major(inVersion: text) == nil)
  }

  @Test("finds a supported one, and the same when its directory is named")
  func finds() async throws {
    let found = try await PostgreSQLInstallation.find()
    #expect(PostgreSQLInstallation.supportedMajors.contains(found.major))
    #expect(try await PostgreSQLInstallation.find(at: found.binaryDirectory, major: found.major) == found)
  }

  @Test("says where it looked and how to get one")
  func notFound() async throws {
    let error = await #expect(throws: PostgreSQLInstallationError.notFound(searched: ["/nowhere"])) {
      try await PostgreSQLInstallation.find(at: "/nowhere")
    }
    let text = try #require(error).description
    #expect(text.contains("/nowhere"))
    #expect(text.contains("apt-get install postgresql"))
  }

  @Test("says which release is needed when only others are installed")
  func unsuitable() async throws {
    let error = await #expect(throws: PostgreSQLInstallationError.self) {
      try await PostgreSQLInstallation.find(major: 9)
    }
    #expect(error?.description.contains("apt-get install postgresql-9") == true)
  }
}
