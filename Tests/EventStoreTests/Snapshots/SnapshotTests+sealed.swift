import EventStore
import Foundation
import Logging
import PostgreSQL
import TestSupport
import Testing

/// Whose eyes a snapshot is for.
extension SnapshotTests {
  @Test("nothing of a state is in the database in the clear; a stranger's key opens nothing")
  func sealed() async throws {
    let database = try TestDatabase.required
    let secret = "a name that nobody may see"
    try await database.withLog { log in
      let store = AggregateStore(log)
      try await store.create(Account.self, "1") { _ in
        [.opened(owner: secret)] + Array(repeating: .deposited(amount: 1, note: secret), count: 20)
      }
      _ = try await store.load(Account.self, "1")
      let rows = try await database.column("SELECT s::text FROM eventstore.snapshots s", as: String.self)
      let hex = secret.utf8.map { String($0, radix: 16) }.joined()
      #expect(rows.count == 1 && !rows[0].contains(secret) && !rows[0].contains(hex))
    }
    var reader = database.configuration
    reader.isReadOnly = true
    reader.encryption = .off
    try await PostgreSQLEventLog.withLog(reader) { log in
      let shape = AggregateFold<Account>(EventCodec()).shape
      let latest = try await log.snapshots?.latest(of: "account-1", shape, upTo: .max, until: nil)
      #expect(latest == nil)
    }
  }

  @Test("shredding the subject's key takes its snapshots with it")
  func shredded() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let store = AggregateStore(log)
      try await store.create(Account.self, "1", subject: "customer-7") { _ in
        Array(repeating: .deposited(amount: 1, note: nil), count: 20)
      }
      _ = try await store.load(Account.self, "1")
      #expect(try await folder(log).state(of: "account-1", at: .latest).snapshotVersion == 20)
    }
    try await database.sql(
      "UPDATE eventstore.data_keys SET wrapped_key = NULL, shredded_at = now() WHERE subject = 'customer-7'")
    try await database.withLog { log in
      let shape = AggregateFold<Account>(EventCodec()).shape
      let latest = try await log.snapshots?.latest(of: "account-1", shape, upTo: .max, until: nil)
      #expect(latest == nil)
      await #expect {
        try await AggregateStore(log).load(Account.self, "1")
      } throws: {
        if case AggregateError.event("account-1", version: 1, .payload(.shredded)) = $0 { true } else { false }
      }
    }
  }

  @Test("a stream of several subjects has no snapshot: one of them could not be shredded alone")
  func severalSubjects() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let store = AggregateStore(log)
      try await store.create(Account.self, "1") { _ in [.opened(owner: "x")] }
      try await store.update(Account.self, "1", subject: "customer-7") { _ in
        Array(repeating: .deposited(amount: 1, note: nil), count: 20)
      }
      #expect(try await store.load(Account.self, "1").balance == 20)
      #expect(try await database.number("SELECT count(*) FROM eventstore.snapshots") == 0)
    }
  }

  @Test("sealed events have sealed snapshots, also when their category was declared plaintext later")
  func plaintextLater() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await AggregateStore(log).create(Account.self, "1") { _ in
        Array(repeating: .deposited(amount: 1, note: "secret"), count: 20)
      }
    }
    try await database.withLog({ $0.plaintextCategories = ["account"] }) { log in
      #expect(try await AggregateStore(log).load(Account.self, "1").balance == 20)
      let first = try await database.column("SELECT get_byte(data, 0) FROM eventstore.snapshots", as: Int.self)
      #expect(first == [1])
    }
  }

  @Test("a plaintext category has plaintext snapshots")
  func plaintext() async throws {
    let database = try TestDatabase.required
    try await database.withLog({ $0.plaintextCategories = ["account"] }) { log in
      let store = AggregateStore(log)
      try await store.create(Account.self, "1") { _ in Array(repeating: .deposited(amount: 1, note: nil), count: 20) }
      _ = try await store.load(Account.self, "1")
      #expect(try await folder(log).state(of: "account-1", at: .latest).snapshotVersion == 20)
      try await database.sql(
        "UPDATE eventstore.snapshots SET data = convert_to(replace(convert_from(substr(data, 3), 'UTF8'), '20', '99'), 'UTF8')"
      )
      #expect(try await folder(log).state(of: "account-1", at: .latest).snapshotVersion == 0)
    }
  }

  // MARK: Upcasting

  enum OldEvent: AggregateEvent {
    case paid(cents: Int)
    enum CodingKeys: String, CodingKey, CaseIterable { case paid }
  }
  enum NewEvent: AggregateEvent {
    case paid(amount: Decimal)
    enum CodingKeys: String, CodingKey, CaseIterable { case paid }
    static func schemaVersion(of type: CodingKeys) -> Int { 2 }
  }
  struct Payments: Aggregate, Equatable {
    static let category = "payments"
    static let snapshotPolicy = SnapshotPolicy<Payments>.every(4)
    var total: Decimal = 0
    mutating func apply(_ event: NewEvent) {
      switch event {
      case .paid(let amount): total += amount
      }
    }
  }
}
