import EventStore
import Foundation
import TestSupport
import Testing

/// Snapshots of states that look alike, or not.
extension SnapshotTests {
  /// Other coding keys for the same properties: the shape is the same, what is read is not.
  enum Renamed {
    struct Account: Aggregate, Equatable {
      static let category = "account"
      var owner: String?
      var balance: Decimal = 0
      var isClosed = false
      var notes: [String: Int] = [:]
      enum CodingKeys: String, CodingKey { case owner = "holder", balance, isClosed, notes }

      mutating func apply(_ event: AccountEvent) {
        if case .renamed(let name) = event { owner = name.first }
      }
    }
  }

  /// Another aggregate of the same category, whose states look like the first one's.
  struct Visits: Aggregate, Equatable {
    static let category = "account"
    static let ignoredEventTypes: Set<String> = []
    var owner: String?
    var balance: Decimal = 0
    var isClosed = false
    var notes: [String: Int] = [:]

    mutating func apply(_ event: AccountEvent) { balance += 1 }
  }

  @Test("what a state is made from, and by whom, is part of its snapshot's shape")
  func otherAggregate() async throws {
    var upcasting = EventCodec()
    upcasting.upcast("account.opened", from: 1) { $0 }
    #expect(AggregateFold<Visits>(EventCodec()).shape != AggregateFold<Account>(EventCodec()).shape)
    #expect(AggregateFold<Account>(upcasting).shape != AggregateFold<Account>(EventCodec()).shape)
    try await TestDatabase.required.withLog { log in
      try await log.append(try Self.events(50), to: "account-1", expecting: .noStream)
      try await keep("account-1", log, at: 40)
      #expect(try await AggregateStore(log).load(Visits.self, "1").balance == 50)
    }
  }

  @Test("a snapshot whose keys were renamed is noticed, though its shape is the same")
  func renamedKeys() async throws {
    let codec = EventCodec()
    #expect(AggregateFold<Renamed.Account>(codec).shape == AggregateFold<Account>(codec).shape)
    try await TestDatabase.required.withLog { log in
      try await log.append(try Self.events(50), to: "account-1", expecting: .noStream)
      try await keep("account-1", log, at: 40)
      let full = try await AggregateStore(log, usesSnapshots: false).load(Renamed.Account.self, "1")
      #expect(full.owner != nil)
      #expect(try await AggregateStore(log).load(Renamed.Account.self, "1").state == full.state)
    }
  }

  /// The account of a later program: a field more, and no other declared version.
  struct GrownAccount: Aggregate, Equatable {
    static let category = "account"
    var owner: String?
    var balance: Decimal = 0
    var isClosed = false
    var notes: [String: Int] = [:]
    var withdrawals: Int?

    mutating func apply(_ event: AccountEvent) {
      switch event {
      case .deposited(let amount, _): balance += amount
      case .withdrawn(let amount):
        balance -= amount
        withdrawals = (withdrawals ?? 0) + 1
      default: break
      }
    }
  }

  /// The same fields, declared to mean something else.
  struct RevisedAccount: Aggregate, Equatable {
    static let category = "account"
    static let schemaVersion = 2
    var owner: String?
    var balance: Decimal = 0
    var isClosed = false
    var notes: [String: Int] = [:]

    mutating func apply(_ event: AccountEvent) { if case .deposited = event { balance += 1 } }
  }

  @Test("a snapshot of another shape, or of another declared version, is not read; both programs keep their own")
  func shapes() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append(try Self.events(50), to: "account-1", expecting: .noStream)
      let store = AggregateStore(log)
      let full = AggregateStore(log, usesSnapshots: false)
      for _ in 1...2 {
        let (account, fullAccount) = try await (store.load(Account.self, "1").state, full.load(Account.self, "1").state)
        #expect(account == fullAccount)
        #expect(
          try await store.load(GrownAccount.self, "1").state == (try await full.load(GrownAccount.self, "1").state))
        #expect(
          try await store.load(RevisedAccount.self, "1").state == (try await full.load(RevisedAccount.self, "1").state))
      }
      #expect(try await store.load(GrownAccount.self, "1").state.withdrawals != nil)
      // Account's interval is 10, theirs the default, 100.
      #expect(try await database.number("SELECT count(*) FROM eventstore.snapshots") == 1)
    }
  }
}
