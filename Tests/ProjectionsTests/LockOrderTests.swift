import EventStore
import PostgreSQL
import TestSupport
import Testing

@testable import Projections

@Suite("Who removes a build, and who works on it", .database, .timeLimit(.minutes(15)))
struct LockOrderTests {
  @Test("a load that begins while a build is removed waits, and finds nothing: neither holds what the other waits for")
  func loadWhileRemoved() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await catalog.register(try Model.model(Model.first))
      let build = try await catalog.builds()[0]
      try await database.withConnection { remover in
        try await database.withConnection { loader in
          let load = try await remover.inTransaction { _ in
            try await remover.execute(catalog.queries.lockBuilds, Parameters("balance"))
            let load = loader.send(catalog.queries.beginLoad, Parameters(Int32(build.number), build.position.rawValue))
            try await eventually("the load waits") {
              try await database.number(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
                > 0
            }
            try await remover.execute(catalog.queries.remove, Parameters(Int32(build.number)))
            return load
          }
          let made = try await load.rows()
          #expect(made.affected == 0)
        }
      }
      let builds = try await catalog.builds()
      #expect(builds.isEmpty)
    }
  }

  @Test(
    "two that make the first views, or a build's tables, at the same moment: the later one tries again, and does not stop"
  )
  func schemaMadeTwice() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let catalog = ProjectionCatalog(log)
      try await catalog.register(try Model.model(Model.first))
      let build = try await catalog.builds()[0]
      let name = build.tableSchema(of: catalog.store)
      let definition = try #require(try await catalog.definition(of: build))
      func meets(_ schema: String, _ body: @escaping @Sendable () async throws -> Void) async throws {
        try await database.withConnection { first in
          try await first.script("BEGIN; CREATE SCHEMA \(schema)")
          let second = Task { try await body() }
          try await eventually("the second waits") {
            try await database.number(
              "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
              > 0
          }
          try await first.script("COMMIT")
          let result = await second.result
          let error = #expect(throws: PostgreSQLError.self) { try result.get() }
          #expect(error?.sqlState == "55P03")
          if let error { #expect({ if case .transient = Fault(error) { true } else { false } }()) }
          try await database.sql("DROP SCHEMA \(schema)")
        }
      }
      try await meets(name) {
        _ = try await BuildTarget.open(build, definition, log, catalog.codec, catalog.queries)
      }
      try await meets(catalog.viewSchema) {
        let connection = try await Connection.connect(log.configuration.connection)
        defer { connection.close() }
        try await connection.inTransaction { _ in
          try await ProjectionViews(catalog: catalog, name: build.name).show(build, on: connection)
        }
      }
    }
  }

  @Test("events that could not be applied before appends are held up are no reason to try again without them")
  func failedApproach() async throws {
    try await TestDatabase.required.withLog { log in
      let catalog = ProjectionCatalog(log)
      let model = try Model.model(Model.first)
      try await catalog.register(model)
      let build = try await catalog.builds()[0]
      // As where a lock takes too long, and where another runner was first.
      for state in ["55P03", "ESP01"] {
        let error = await #expect(throws: PostgreSQLError.self) {
          _ = try await catalog.engage(build, .sql(model)) {
            throw PostgreSQLError(.server, "not applied", sqlState: state)
          }
        }
        #expect(error?.sqlState == state)
      }
    }
  }
}
