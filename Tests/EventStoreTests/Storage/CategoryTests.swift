import TestSupport
import Testing

@testable import EventStore

@Suite("Appends that make categories", .database, .timeLimit(.minutes(15)))
struct CategoryTests {
  @Test("the first stream of a category makes the category")
  func category() async throws {
    try await TestDatabase.required.withLog { log in
      for name in ["order-1", "order-2", "invoice-1", "plain"] {
        let appended = try await log.append([.sample()], to: StreamName(name), expecting: .noStream)
        #expect(appended.version == 1)
        #expect(try NewStreamTests.isBelieved(log))
      }
      let invoices = try await log.readAll(after: .start, where: LogFilter(categories: ["invoice"])).collect()
      #expect(invoices.map(\.stream) == ["invoice-1"])
    }
  }

  @Test("numbers of categories that were drawn and rolled back are given again, each once")
  func categoriesThatWereRolledBack() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample()], to: "a-1", expecting: .noStream)
      try await database.sql(
        "SELECT setval(pg_get_serial_sequence('eventstore.categories', 'category_id'), 32767)")
      try await withThrowingTaskGroup { group in
        for task in 0..<6 {
          group.addTask {
            try await database.withLog { log in
              for number in 0..<5 {
                // Some of them are wanted by several.
                let category = "new\((task / 2) * 5 + number)"
                try await log.append(
                  [.sample()], to: StreamName(category: category, id: "\(task)"), expecting: .noStream)
              }
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(try await log.readAll().collect().count == 31)
      #expect(try await log.readAll(after: .start, where: .category("new7")).collect().count == 2)
    }
    #expect(
      try await database.column("SELECT category_id::int FROM eventstore.categories ORDER BY 1", as: Int.self)
        == Array(1...16))
  }

  @Test("a store that has all its categories says so, and goes on with those it has")
  func categoriesAreUsedUp() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append([.sample()], to: "a-1", expecting: .noStream)
      try await database.sql(
        """
        INSERT INTO eventstore.categories (category_id, name) OVERRIDING SYSTEM VALUE
        SELECT number, 'c' || number FROM generate_series(2, 32767) AS number;
        SELECT setval(pg_get_serial_sequence('eventstore.categories', 'category_id'), 32767)
        """)
      let error = await appendError { () throws(AppendError) in
        try await log.append([.sample()], to: "b-1", expecting: .any)
      }
      #expect(error?.description.contains("categories") == true)
      try await log.append([.sample()], to: "a-2", expecting: .noStream)
    }
  }
}
