import PostgreSQL
import TestSupport
import Testing

@Suite("Errors", .database, .timeLimit(.minutes(15)))
struct ErrorTests {
  private let secret = "hunter2-secret"

  @Test("the message of a data exception, which quotes the value, is withheld")
  func dataException() async throws {
    try await withConnection { connection in
      let error = try await failure {
        try await connection.execute(Statement("SELECT $1::text::int"), Parameters(secret))
      }
      #expect(error.code == .server)
      #expect(error.sqlState == "22P02")
      #expect(!"\(error)\(String(reflecting: error))".contains(secret))
    }
  }

  @Test("a unique violation names its constraint and not the key")
  func uniqueViolation() async throws {
    try await withConnection { connection in
      try await connection.script("CREATE TABLE names (name text CONSTRAINT one_of_a_name UNIQUE)")
      let insert = Statement("INSERT INTO names VALUES ($1)")
      try await connection.execute(insert, Parameters(secret))
      let error = try await failure { try await connection.execute(insert, Parameters(secret)) }
      #expect(error.sqlState == "23505")
      #expect(error.constraint == "one_of_a_name")
      #expect(!"\(error)\(String(reflecting: error))".contains(secret))
    }
  }

  @Test("a syntax error is told as the server tells it")
  func syntaxError() async throws {
    try await withConnection { connection in
      let error = try await failure { try await connection.execute(Statement("SELEC 1")) }
      #expect(error.sqlState == "42601")
      #expect("\(error)".contains("SELEC"))
      #expect(!error.isUnavailable)
    }
  }
}

@Suite("Connecting", .database, .timeLimit(.minutes(15)))
struct ConnectingTests {
  @Test("the second host is tried when the first is dead")
  func severalHosts() async throws {
    let database = try TestDatabase.required
    let settings = try await database.column(
      "SELECT trim(BOTH '\"' FROM current_setting(name)) FROM unnest(ARRAY['unix_socket_directories', 'port']) AS name",
      as: String.self)
    let string = "\(database.connectionString) host='/nowhere,\(settings[0])' port='1,\(settings[1])'"
    try await withConnection({ $0.connectionString = string }) { connection in
      let one: Int = try await connection.one("SELECT 1")
      #expect(one == 1)
    }
  }

  @Test("the connection string has the last word")
  func precedence() async throws {
    try await withConnection({ $0.connectionString += " application_name=mine" }) { connection in
      let name: String = try await connection.one("SELECT current_setting('application_name')")
      #expect(name == "mine")
    }
  }

  @Test("where nobody listens the error is connectFailed")
  func nobody() async throws {
    let error = try await failure { try await withConnection({ $0.connectionString = "host=/nowhere" }) { _ in } }
    #expect(error.code == .connectFailed)
    #expect(error.isUnavailable)
    #expect(error.message.contains("/nowhere"))
  }

  @Test(
    "no part of a password gets into an error, however badly the string is written",
    arguments: [
      "host=/nowhere password=my hunter2", "host=/nowhere password='hunter2", "postgresql://u:hun%zz hunter2@h/d",
      "postgresql://user:p/hunter2@127.0.0.1/d", "postgresql://user:p@hunter2@127.0.0.1:1/d",
      "postgresql://user:hunter2/x@127.0.0.1:1/d", "postgresql://u:[hunter2@127.0.0.1:1/d",
    ])
  func badStrings(string: String) async throws {
    let error = try await failure { try await withConnection({ $0.connectionString = string }) { _ in } }
    #expect(error.code == .connectFailed)
    #expect(!"\(error)".contains("hunter2"))
  }
}
