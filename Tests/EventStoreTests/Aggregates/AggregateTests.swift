import EventStore
import EventStoreTesting
import Foundation
import TestSupport
import Testing

@Suite("Aggregates")
struct AggregateTests {
  @Test(
    "an event is stored with its declared type and the case's values alone, and comes back",
    arguments: [
      (AccountEvent.opened(owner: "Ada"), "account.opened", #"{"owner":"Ada"}"#),
      (.deposited(amount: Decimal(string: "10.10")!, note: nil), "account.deposited", #"{"amount":10.1}"#),
      (.deposited(amount: 1, note: "a/b"), "account.deposited", #"{"amount":1,"note":"a/b"}"#),
      (.renamed(.init(first: "A", last: "L")), "account.renamed", #"{"first":"A","last":"L"}"#),
      (.closed, "account.closed", "{}"),
    ])
  func storedForm(event: AccountEvent, type: String, payload: String) throws {
    let data = try EventCodec().encode(event)
    #expect(data.type == type)
    #expect(String(decoding: data.payload.bytes, as: UTF8.self) == payload)
    let recorded = RecordedEvent(
      id: data.id, stream: "account-1", version: 1, position: .start, type: data.type,
      schemaVersion: data.schemaVersion, recordedAt: Date(), payload: .success(data.payload))
    #expect(try EventCodec().decode(recorded, as: AccountEvent.self) == event)
  }

  enum OddEvent: AggregateEvent, Equatable {
    case mixed(Int, to: String?)
    case mixedStruct(AccountEvent.Name, to: String)
    case two(Int, Int)
    case optional(String?)
    case list([Int])
    case map([String: Int])
    case nested(AccountEvent.Name?)
    case labelled(name: String?)
    case note(Note?)
    case noteTo(Note?, to: Note)
    case map2([String: String]?)
    case tagged([String: String], by: String?)
    struct Note: Codable, Equatable, Sendable { var text: String? }
    enum CodingKeys: String, CodingKey, CaseIterable {
      case mixed, mixedStruct, two, optional, list, map, nested, labelled, note, noteTo, map2, tagged
    }
  }

  @Test(
    "cases of every form come back",
    arguments: [
      OddEvent.mixed(1, to: "x"), .mixed(1, to: nil), .mixedStruct(.init(first: "A", last: "B"), to: "y"), .two(1, 2),
      .optional(nil), .optional("x"), .list([]), .list([1, 2]), .map([:]), .map(["a": 1]), .map(["_0": 1, "to": 2]),
      .nested(nil), .nested(.init(first: "A", last: "B")), .labelled(name: nil), .labelled(name: "x"),
      .note(nil), .note(.init()), .note(.init(text: "x")), .noteTo(nil, to: .init()), .noteTo(.init(), to: .init()),
      .noteTo(nil, to: .init(text: "x")), .map2(nil), .map2([:]), .map2(["_0": "x"]), .tagged(["a": "b"], by: nil),
      .tagged(["_0": "x", "by": "y"], by: "z"), .tagged(["_0": "x"], by: nil), .tagged([:], by: nil),
    ])
  func forms(event: OddEvent) throws {
    let data = try EventCodec().encode(event)
    let recorded = RecordedEvent(
      id: data.id, stream: "odd-1", version: 1, position: .start, type: data.type, schemaVersion: 1, recordedAt: Date(),
      payload: .success(data.payload))
    #expect(
      try EventCodec().decode(recorded, as: OddEvent.self) == event,
      "\(String(decoding: data.payload.bytes, as: UTF8.self))")
  }

  @Test("a payload that would be read as another event is refused before it is appended")
  func ambiguous() throws {
    let error = #expect(throws: CodecError.self) {
      try EventCodec().encode(OddEvent.tagged(["secret": "x", "by": "y"], by: nil))
    }
    #expect(error?.description.contains("label by") == true && error?.description.contains("secret") == false)
  }

  @Test("created, updated, loaded", arguments: Backend.all)
  func lifeCycle(backend: Backend) async throws {
    try await backend.withLog { log in
      let store = AggregateStore(log)
      let new = try await store.create(Account.self, "1") { _ in [.opened(owner: "Ada")] }
      #expect(new.version == 1 && new.owner == "Ada")
      let updated = try await store.update(Account.self, "1") { try $0.deposit(Decimal(string: "12.34")!) }
      #expect(updated.version == 2 && updated.state.balance == Decimal(string: "12.34"))
      #expect(try await store.update(Account.self, "1") { _ in [] }.version == 2)
      let loaded = try await store.load(Account.self, "1")
      #expect(loaded.state == updated.state && loaded.version == 2 && loaded.stream == "account-1")
    }
  }

  @Test("the errors that a caller can meet", arguments: Backend.all)
  func errors(backend: Backend) async throws {
    try await backend.withLog { log in
      let store = AggregateStore(log)
      try await store.create(Account.self, "1") { _ in [.opened(owner: "Ada")] }
      await #expect("there is one already") {
        try await store.create(Account.self, "1") { _ in [.opened(owner: "Bob")] }
      } throws: { if case AggregateError.alreadyExists("account-1", version: 1) = $0 { true } else { false } }
      await #expect("not found on load") {
        try await store.load(Account.self, "2")
      } throws: { if case AggregateError.notFound("account-2") = $0 { true } else { false } }
      await #expect("not found on update") {
        try await store.update(Account.self, "2") { $0.close() }
      } throws: { if case AggregateError.notFound("account-2") = $0 { true } else { false } }
      await #expect(throws: AccountError.insufficientFunds(missing: 5)) {
        try await store.update(Account.self, "1") { try $0.withdraw(5) }
      }
      await #expect("no such version") {
        try await store.load(Account.self, "1", at: .version(2))
      } throws: {
        if case AggregateError.versionNotReached("account-1", asked: 2, last: 1) = $0 { true } else { false }
      }
      await #expect("versions begin at 1") {
        try await store.load(Account.self, "1", at: .version(0))
      } throws: {
        if case AggregateError.versionNotReached("account-1", asked: 0, last: 1) = $0 { true } else { false }
      }
      await #expect("too early") {
        try await store.load(Account.self, "1", at: .time(Date(timeIntervalSince1970: 0)))
      } throws: { if case AggregateError.notYet = $0 { true } else { false } }
      await #expect("not a name") {
        try await store.load(Account.self, "a\u{0}")
      } throws: { if case AggregateError.invalidName = $0 { true } else { false } }
      try await log.append([.sample()], to: "account-1", expecting: .any)
      await #expect("a stranger's event") {
        try await store.load(Account.self, "1")
      } throws: {
        if case AggregateError.event("account-1", version: 2, .unknownType) = $0 { true } else { false }
      }
      let created = try await store.update(Account.self, "3", createsIfAbsent: true) { _ in [.opened(owner: "C")] }
      #expect(created.version == 1)
    }
  }

  @Test("without one of its events an aggregate does not load", .database, arguments: [1, 2, 7, 8, 300])
  func missing(version: Int) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let store = AggregateStore(log, Account.self, usesSnapshots: false)
      let events = try (0..<600).map { try EventCodec().encode(AccountEvent.deposited(amount: Decimal($0), note: nil)) }
      try await log.append(events, to: "account-1", expecting: .noStream)
      try await database.sql(
        "SET session_replication_role = replica; DELETE FROM eventstore.events WHERE version = \(version)")
      for moment in [Moment.latest, .version(400)] {
        let error = try await #require(throws: AggregateError.self) {
          try await store.load(Account.self, "1", at: moment)
        }
        guard case .missing("account-1", version) = error else {
          Issue.record("expected the missing version, found \(error)")
          continue
        }
      }
      // What lies before can be looked at.
      if version > 1 {
        #expect(try await store.load(Account.self, "1", at: .version(version - 1)).version == version - 1)
      }
    }
  }

  @Test("concurrent updates lose nothing: each is decided on the state that it changes", arguments: Backend.all)
  func concurrentUpdates(backend: Backend) async throws {
    try await backend.withLog { log in
      let store = AggregateStore(log, retries: ConflictRetries(attempts: 1000))
      try await store.create(Account.self, "1") { _ in [.opened(owner: "Ada"), .deposited(amount: 30, note: nil)] }
      let done = try await withThrowingTaskGroup(of: Bool.self) { group in
        for _ in 0..<8 {
          group.addTask {
            var done = true
            for _ in 0..<6 {
              do {
                try await store.update(Account.self, "1") { try $0.withdraw(1) }
              } catch AccountError.insufficientFunds {
                done = false
              }
            }
            return done
          }
        }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      // 48 asked for one each, 30 were there.
      let account = try await store.load(Account.self, "1")
      #expect(account.balance == 0 && account.version == 32 && done.contains(false))
    }
  }

  @Test("an update that always loses gives up with the conflict", arguments: Backend.all)
  func givesUp(backend: Backend) async throws {
    try await backend.withLog { log in
      let store = AggregateStore(log, retries: ConflictRetries(attempts: 3, longestPause: .milliseconds(1)))
      try await store.create(Account.self, "1") { _ in [.opened(owner: "Ada")] }
      var asked = 0
      await #expect {
        try await store.update(Account.self, "1") { account in
          asked += 1
          _ = try await AggregateStore(log).update(Account.self, "1") { try $0.deposit(1) }
          return try account.deposit(2)
        }
      } throws: { if case AppendError.conflict = $0 { true } else { false } }
      #expect(asked == 3)
      #expect(try await store.load(Account.self, "1").balance == 3)
    }
  }

  @Test("two aggregates change together, or not at all", arguments: Backend.all)
  func transfers(backend: Backend) async throws {
    try await backend.withLog { log in
      let store = AggregateStore(log, retries: ConflictRetries(attempts: 1000))
      for id in ["1", "2", "3"] {
        try await store.create(Account.self, id) { _ in [.opened(owner: id), .deposited(amount: 100, note: nil)] }
      }
      @Sendable func transfer(_ amount: Decimal, _ from: String, _ to: String) async throws {
        try await store.transact { transaction in
          let source = try await transaction.load(Account.self, from)
          let target = try await transaction.load(Account.self, to)
          try transaction.append(try source.state.withdraw(amount), to: source)
          try transaction.append(try target.state.deposit(amount), to: target)
        }
      }
      try await withThrowingTaskGroup { group in
        for n in 0..<30 { group.addTask { try await transfer(1, "\(n % 3 + 1)", "\((n + 1) % 3 + 1)") } }
        try await group.waitForAll()
      }
      for id in ["1", "2", "3"] {
        let account = try await store.load(Account.self, id)
        #expect(account.balance == 100 && account.version == 22)
      }
      await #expect(throws: AccountError.insufficientFunds(missing: 1)) { try await transfer(101, "1", "2") }
      #expect(try await store.load(Account.self, "2").version == 22)
    }
  }

  @Test("one aggregate appended to twice in a transaction goes on from what the first returned", arguments: Backend.all)
  func twiceInOne(backend: Backend) async throws {
    try await backend.withLog { log in
      let store = AggregateStore(log)
      try await store.create(Account.self, "1") { _ in [.opened(owner: "Ada")] }
      try await store.transact { transaction in
        let account = try await transaction.load(Account.self, "1")
        let first = try transaction.append(try account.state.deposit(5), to: account)
        try transaction.append(try first.state.withdraw(4), to: first)
        #expect(throws: AppendError.self) { try transaction.append(try account.state.deposit(1), to: account) }
      }
      let account = try await store.load(Account.self, "1")
      #expect(account.balance == 1 && account.version == 3)
    }
  }

  @Test("any version, and any time", arguments: Backend.all)
  func moments(backend: Backend) async throws {
    try await backend.withLog { log in
      let day = Date(timeIntervalSince1970: 1_000_000_000)
      let events = try (0..<25).map { n in
        var data = try EventCodec().encode(AccountEvent.deposited(amount: 1, note: nil))
        data.occurredAt = day.addingTimeInterval(Double(n) * 86_400)
        return data
      }
      try await log.append(events, to: "account-1", expecting: .noStream)
      let store = AggregateStore(log)
      for _ in 1...2 {
        for version in 1...25 {
          let account = try await store.load(Account.self, "1", at: .version(version))
          #expect(account.balance == Decimal(version) && account.version == version)
          let time = day.addingTimeInterval(Double(version - 1) * 86_400 + 5)
          let then = try await store.load(Account.self, "1", at: .time(time))
          #expect(then.balance == Decimal(version) && then.version == version)
        }
        // Once more, with a snapshot.
        _ = try await store.load(Account.self, "1")
      }
    }
  }

  @Test("given, when, then")
  func givenWhenThen() throws {
    try Given<Account>(.opened(owner: "Ada"), .deposited(amount: 5, note: nil))
      .when { try $0.withdraw(3) }
      .then(.withdrawn(amount: 3))
    try Given<Account>(.deposited(amount: 5, note: nil))
      .when { try $0.withdraw(6) }
      .then(throws: AccountError.insufficientFunds(missing: 1))
    try Given<Account>(.closed).when { $0.close() }.thenNothing()
    try Given<Account>(.deposited(amount: 5, note: "x")).then { $0.balance == 5 && $0.notes == ["x": 1] }
    try Given<Account>().when { try $0.deposit(2) }.thenState { $0.balance == 2 }
    #expect(throws: UnexpectedOutcome.self) {
      try Given<Account>().when { try $0.deposit(2) }.then(.deposited(amount: 3, note: nil))
    }
    #expect(throws: UnexpectedOutcome.self) { try Given<Account>().when { try $0.withdraw(1) }.thenNothing() }
    #expect(throws: UnexpectedOutcome.self) {
      try Given<Account>().when { try $0.deposit(1) }.then(throws: AccountError.closed)
    }
  }
}
