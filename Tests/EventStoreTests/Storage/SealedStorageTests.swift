import EmbeddedPostgreSQL
import EventStore
import FoundationEssentials
import PostgreSQL
import Subprocess
import SystemPackage
import TestSupport
import Testing

@Suite("Sealed payloads in the database", .timeLimit(.minutes(15)))
struct SealedStorageTests {
  @Test(
    "a sealed payload is nowhere in clear: not in the table, not in a dump, not in any file of the server")
  func nowhereInClear() async throws {
    let secret = "the-secret-\(UUID().uuidString)"
    let visible = "visible-\(UUID().uuidString)"
    try await IsolatedServer.with { server in
      try await server.database.withLog({ $0.plaintextCategories = ["public"] }) { log in
        try await log.append(
          [.sample("{\"name\":\"\(secret)\"}", type: "account.opened")], to: "account-1", expecting: .noStream
        )
        // One that is compressed before it is sealed.
        let long = String(repeating: "\(secret) ", count: 100)
        try await log.append([.sample("{\"name\":\"\(long)\"}")], to: "account-1", expecting: .exact(1))
        try await log.append([.sample("{\"name\":\"\(visible)\"}")], to: "public-1", expecting: .noStream)
        #expect(try await log.read("account-1").collect()[0].text.contains(secret))
        #expect(try await log.read("public-1").collect()[0].text.contains(visible))

        for (text, count) in [(secret, 0), (visible, 1)] {
          let found = try await server.database.number(
            "SELECT count(*) FROM eventstore.events e WHERE position(convert_to($1, 'UTF8') IN data) > 0 "
              + "OR e::text LIKE '%' || $1 || '%'", Parameters(text))
          #expect(found == count)
        }
      }
      let dump = try await Self.dump(server.database.connectionString)
      // The dump writes bytes as hexadecimal digits.
      let contains = { (text: String) in
        dump.contains(text)
          || dump.contains(text.utf8.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined())
      }
      #expect(!contains(secret) && contains(visible) && contains("account.opened"))

      try await server.database.sql("CHECKPOINT")
      var filesWith = [secret: 0, visible: 0]
      var journalWithVisible = false
      for path in server.files {
        guard let bytes = try? Data(contentsOf: URL(filePath: path)) else { continue }
        for text in [secret, visible] where bytes.firstRange(of: Data(text.utf8)) != nil {
          filesWith[text, default: 0] += 1
          if text == visible, path.contains("/pg_wal/") { journalWithVisible = true }
        }
      }
      #expect(filesWith[secret] == 0)
      #expect(filesWith[visible, default: 0] >= 2 && journalWithVisible, "the search itself works")
    }
  }

  private static func dump(_ connectionString: String) async throws -> String {
    let program = try await PostgreSQLInstallation.find().binaryDirectory.appending("pg_dump")
    let result = try await run(
      .path(program), arguments: ["-d", connectionString], output: .string(limit: 64 << 20),
      error: .string(limit: 1 << 20))
    #expect(result.terminationStatus.isSuccess, "\(result.standardError)")
    return result.standardOutput
  }
}

@Suite("Sealed payloads and plaintext ones", .database, .timeLimit(.minutes(15)))
struct PayloadStorageTests {
  @Test("payloads of more than 1 KiB are compressed, before they are sealed", arguments: [true, false])
  func compression(isSealed: Bool) async throws {
    let database = try TestDatabase.required
    try await database.withLog({ if !isSealed { $0.encryption = .off } }) { log in
      let text = "{\"items\":[\(String(repeating: "{\"sku\":\"4711\",\"count\":1},", count: 400))0]}"
      let noise = Payload(bytes: (0..<10_000).map { _ in UInt8.random(in: 0...255) })
      try await log.append(
        [.sample(text), EventData(type: "t", payload: noise)], to: "order-1", expecting: .noStream)
      let sizes = try await database.column(
        "SELECT length(data) FROM eventstore.events ORDER BY position", as: Int.self)
      #expect(sizes[0] < text.utf8.count / 5)
      #expect(sizes[1] >= 10_000 && sizes[1] < 10_100)
      let events = try await log.read("order-1").collect()
      #expect(events[0].text == text)
      #expect(try events[1].payload.get() == noise)
    }
  }

  @Test("a category is plaintext only as long as it is declared so")
  func plaintextCategory() async throws {
    let database = try TestDatabase.required
    try await database.withLog({ $0.plaintextCategories = ["public"] }) { log in
      try await log.append([.sample("open")], to: "public-1", expecting: .noStream)
      try await log.append([.sample("closed")], to: "account-1", expecting: .noStream)
      #expect(try await log.readAll().collect().map(\.text) == ["open", "closed"])
    }
    try await database.withLog { log in
      let events = try await log.readAll().collect()
      #expect(events.map(\.text) == ["<notSealed>", "closed"])
      #expect(events[0].payload == .failure(.notSealed(category: "public")))
    }
    for (declared, text) in [([], "<notSealed>"), (["public"], "open")] as [(Set<String>, String)] {
      try await database.withLog({
        $0.encryption = .off
        $0.plaintextCategories = declared
      }) { log in
        let texts = try await log.readAll().collect().map(\.text)
        #expect(texts == [text, "<masterKeyMissing>"])
      }
    }
  }

  @Test("a wrong keyring is refused at the door, and nothing is written")
  func wrongKeyring() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample()], to: "account-1", expecting: .noStream)
    }
    let other = try Keyring.ephemeral()
    var configuration = database.configuration
    configuration.encryption = .sealed(other)
    let error = await #expect(throws: OpenError.self) { try await PostgreSQLEventLog.open(configuration) }
    guard case .encryption(.wrongMasterKey(let expected, let found))? = error else {
      Issue.record("expected the wrong master key, found \(String(describing: error))")
      return
    }
    #expect(expected == [database.keyring.active.id] && found == other.active.id)
    #expect(try await database.number("SELECT count(*) FROM eventstore.master_keys") == 1)
    #expect(try await database.number("SELECT count(*) FROM eventstore.events") == 1)
  }

  @Test("of two processes that bring a new store its first master key, one is refused")
  func firstKeyring() async throws {
    let database = try TestDatabase.required
    let keyrings = try (0..<6).map { _ in try Keyring.ephemeral() }
    let opened = await withTaskGroup { group in
      for keyring in keyrings {
        group.addTask {
          var configuration = database.configuration
          configuration.encryption = .sealed(keyring)
          guard let log = try? await PostgreSQLEventLog.open(configuration) else { return false }
          await log.close()
          return true
        }
      }
      return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
    }
    #expect(opened == 1)
    #expect(try await database.number("SELECT count(*) FROM eventstore.master_keys") == 1)
  }

  @Test("several stores in one database know nothing of each other")
  func severalStores() async throws {
    let database = try TestDatabase.required
    try await Migrator(ConnectionConfiguration(database.connectionString), schema: "second").migrate()
    let other = try Keyring.ephemeral()
    try await database.withLog { first in
      var configuration = database.configuration
      configuration.schema = "second"
      configuration.encryption = .sealed(other)
      try await PostgreSQLEventLog.withLog(configuration) { second in
        #expect(first.storeID != second.storeID)
        try await first.append([.sample("1")], to: "account-1", expecting: .noStream)
        try await second.append([.sample("2"), .sample("3")], to: "account-1", expecting: .noStream)
        #expect(try await first.readAll().collect().map(\.text) == ["1"])
        #expect(try await second.subscribe().first(2).map(\.text) == ["2", "3"])
      }
    }
  }
}
