import EventStore
import Foundation
import Logging
import PostgreSQL
import TestSupport
import Testing

@Suite("Snapshots", .database, .timeLimit(.minutes(15)))
struct SnapshotTests {
  typealias Folder = StreamFolder<AggregateFold<Account>>

  static func events(_ count: Int, seed: UInt64 = 1) throws -> [EventData] {
    var random = SeededNumbers(seed: seed)
    return try (0..<count).map { n in
      let event: AccountEvent =
        switch Int.random(in: 0..<10, using: &random) {
        case 0: .renamed(.init(first: "F\(n)", last: "L"))
        case 1...3: .withdrawn(amount: Decimal(Int.random(in: 1...999, using: &random)) / 100)
        case 4: .closed
        default:
          .deposited(
            amount: Decimal(Int.random(in: 1...99_999, using: &random)) / 100,
            note: Bool.random(using: &random) ? "n\(n % 5)" : nil)
        }
      var data = try EventCodec().encode(event)
      // Not in the order of the stream.
      data.occurredAt = Date(timeIntervalSince1970: Double(Int.random(in: 0..<1000, using: &random)))
      return data
    }
  }

  func folder(_ log: PostgreSQLEventLog, usingSnapshots: Bool = true) -> Folder {
    Folder(log, AggregateFold<Account>(EventCodec()), snapshots: usingSnapshots ? log.snapshots : nil)
  }

  func keep(_ stream: StreamName, _ log: PostgreSQLEventLog, at version: Int) async throws {
    let folder = folder(log, usingSnapshots: false)
    let folded = try await folder.state(of: stream, at: .version(version))
    try await log.snapshots?.save(try #require(folder.snapshot(folded, of: stream)))
  }

  @Test(
    "with snapshots at random versions every version, and every time, is what a full replay gives",
    arguments: 1...4 as ClosedRange<UInt64>)
  func property(seed: UInt64) async throws {
    try await TestDatabase.required.withLog { log in
      var random = SeededNumbers(seed: seed)
      let count = Int.random(in: 1...90, using: &random)
      try await log.append(try Self.events(count, seed: seed), to: "account-1", expecting: .noStream)
      let (with, without) = (folder(log), folder(log, usingSnapshots: false))
      for _ in 0..<3 {
        try await keep("account-1", log, at: Int.random(in: 1...count, using: &random))
        for version in 1...count {
          let full = try await without.state(of: "account-1", at: .version(version))
          let short = try await with.state(of: "account-1", at: .version(version))
          #expect(short.state == full.state && short.version == version && short.eventID == full.eventID)
          #expect(short.latestTime == full.latestTime && short.keyIDs == full.keyIDs)
          #expect(short.eventsRead == version - short.snapshotVersion)
        }
        for second in stride(from: 0, to: 1000, by: 90) {
          let moment = Moment.time(Date(timeIntervalSince1970: Double(second)))
          let full = try await without.state(of: "account-1", at: moment)
          #expect(try await with.state(of: "account-1", at: moment).state == full.state)
        }
      }
    }
  }

  @Test("a long stream is loaded by reading no more than the interval")
  func interval() async throws {
    try await TestDatabase.required.withLog { log in
      let store = AggregateStore(log)
      for batch in 0..<30 {
        try await log.append(
          try Self.events(7, seed: UInt64(batch)), to: "account-1", expecting: .exact(batch * 7))
        _ = try await store.load(Account.self, "1")
        #expect(try await folder(log).state(of: "account-1", at: .latest).eventsRead < 10)
      }
    }
  }

  @Test("concurrent writers, each with snapshots: the state is the full replay's")
  func concurrentWriters() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let stores = (0..<3).map { _ in AggregateStore(log, retries: ConflictRetries(attempts: 1000)) }
      try await withThrowingTaskGroup { group in
        for (number, store) in stores.enumerated() {
          group.addTask {
            for n in 0..<40 {
              try await store.update(Account.self, "\(n % 2)", createsIfAbsent: true) {
                try $0.deposit(Decimal(n + 1), note: "w\(number)")
              }
            }
          }
        }
        try await group.waitForAll()
      }
      for id in ["0", "1"] {
        let (stream, loaded) = (try Account.stream(id), try await stores[0].load(Account.self, id))
        let full = try await folder(log, usingSnapshots: false).state(of: stream, at: .latest)
        #expect(loaded.version == 60 && loaded.state == full.state)
        #expect(try await folder(log).state(of: stream, at: .latest).snapshotVersion > 40)
      }
      #expect(try await database.number("SELECT count(*) FROM eventstore.snapshots") <= 6)
    }
  }

  @Test("a look at a time, which leaves events out, makes no snapshot that later loads would begin from")
  func atATime() async throws {
    try await TestDatabase.required.withLog { log in
      var events = try Self.events(30)
      for index in events.indices { events[index].occurredAt = Date(timeIntervalSince1970: index == 12 ? 9000 : 1) }
      try await log.append(events, to: "account-1", expecting: .noStream)
      let store = AggregateStore(log)
      let full = try await folder(log, usingSnapshots: false).state(of: "account-1", at: .latest)
      for _ in 1...2 {
        _ = try await store.load(Account.self, "1", at: .time(Date(timeIntervalSince1970: 5)))
        let folded = try await folder(log).state(of: "account-1", at: .time(Date(timeIntervalSince1970: 5)))
        #expect(folded.eventsRead == 29 && !folder(log).isSnapshotDue(folded))
        #expect(folder(log).snapshot(folded, of: "account-1") == nil)
        #expect(try await store.load(Account.self, "1").state == full.state)
      }
    }
  }

  @Test("a time between two microseconds: a snapshot holds no event that a full replay leaves out")
  func betweenMicroseconds() async throws {
    try await TestDatabase.required.withLog { log in
      var events = try Self.events(30)
      let microseconds = 800_000_000_000_001
      for index in events.indices {
        events[index].occurredAt = Date(timeIntervalSinceReferenceDate: Double(microseconds + index) / 1e6)
      }
      try await log.append(events, to: "account-1", expecting: .noStream)
      for version in [10, 20, 30] { try await keep("account-1", log, at: version) }
      for version in [10, 20, 30] {
        let time = Date(timeIntervalSinceReferenceDate: (Double(microseconds + version - 1) - 0.3) / 1e6)
        let full = try await folder(log, usingSnapshots: false).state(of: "account-1", at: .time(time))
        let short = try await folder(log).state(of: "account-1", at: .time(time))
        #expect(full.version == version - 1)
        #expect(short.version == full.version && short.state == full.state)
      }
    }
  }

  // MARK: Damage

  @Test(
    "one that was altered, or is from another stream or time, is passed over, and replaced",
    arguments: [
      "UPDATE eventstore.snapshots SET data = set_byte(data, length(data) - 20, get_byte(data, length(data) - 20) # 1)",
      "UPDATE eventstore.snapshots SET data = '\\x00'",
      "UPDATE eventstore.snapshots SET data = ''",
      "UPDATE eventstore.snapshots SET checksum = sha256(data)",
      "UPDATE eventstore.snapshots SET version = version - 3",
      "UPDATE eventstore.snapshots SET version = version + 3",
      "UPDATE eventstore.snapshots SET version = 100000",
      "UPDATE eventstore.snapshots SET latest_time = '1969-01-01'",
      "UPDATE eventstore.snapshots SET latest_time = 'infinity', created_at = '-infinity'",
      "UPDATE eventstore.snapshots SET latest_time = '-infinity', created_at = 'infinity'",
      "UPDATE eventstore.snapshots SET event_id = gen_random_uuid()",
      "UPDATE eventstore.snapshots SET stream_id = (SELECT stream_id FROM eventstore.streams WHERE name = 'account-2')",
      "UPDATE eventstore.snapshots SET schema_version = 7",
      "UPDATE eventstore.snapshots SET fingerprint = '\\x00'",
      "UPDATE eventstore.snapshots SET state_type = 'other'",
      "DELETE FROM eventstore.snapshots",
    ])
  func damage(sql: String) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append(try Self.events(40), to: "account-1", expecting: .noStream)
      try await log.append(try Self.events(40, seed: 9), to: "account-2", expecting: .noStream)
      try await keep("account-1", log, at: 20)
      try await database.sql(sql)
      for stream in ["account-1", "account-2"] as [StreamName] {
        let full = try await folder(log, usingSnapshots: false).state(of: stream, at: .latest)
        let loaded = try await folder(log).state(of: stream, at: .latest)
        #expect(loaded.state == full.state && loaded.version == 40 && loaded.snapshotVersion == 0)
      }
      try await keep("account-1", log, at: 20)
      #expect(try await folder(log).state(of: "account-1", at: .latest).snapshotVersion == 20)
    }
  }

  @Test("when the newest is damaged, the one before it serves; and it takes its place again")
  func olderOne() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append(try Self.events(40), to: "account-1", expecting: .noStream)
      for version in [10, 20, 30] { try await keep("account-1", log, at: version) }
      try await database.sql("UPDATE eventstore.snapshots SET checksum = '' WHERE version = 30")
      #expect(try await folder(log).state(of: "account-1", at: .latest).snapshotVersion == 20)
      try await keep("account-1", log, at: 30)
      #expect(try await folder(log).state(of: "account-1", at: .latest).snapshotVersion == 30)
    }
  }

  @Test("the last few are kept, and a newer one outlives an older one that comes later")
  func kept() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append(try Self.events(60), to: "account-1", expecting: .noStream)
      for version in [10, 50, 40, 30, 20, 60] { try await keep("account-1", log, at: version) }
      let versions = try await database.column(
        "SELECT version FROM eventstore.snapshots ORDER BY version", as: Int.self)
      #expect(versions == [40, 50, 60])
    }
  }

  // MARK: Sealing

  @Test("older events are raised on their way into a snapshot")
  func upcasting() async throws {
    struct Old: Decodable { var cents: Int }
    struct New: Encodable { var amount: Decimal }
    var codec = EventCodec()
    codec.upcast("paid", from: 1) { (old: Old) in New(amount: Decimal(old.cents) / 100) }
    try await TestDatabase.required.withLog { [codec] log in
      let old = try (1...10).map { try EventCodec().encode(OldEvent.paid(cents: $0)) }
      try await log.append(old, to: "payments-1", expecting: .noStream)
      let store = AggregateStore(log, codec: codec)
      for _ in 1...2 { #expect(try await store.load(Payments.self, "1").total == Decimal(string: "0.55")) }
      try await store.update(Payments.self, "1") { _ in [.paid(amount: 1)] }
      let loaded = try await store.load(Payments.self, "1")
      #expect(loaded.total == Decimal(string: "1.55") && loaded.version == 11)
      #expect(
        try await AggregateStore(log, codec: codec, usesSnapshots: false).load(Payments.self, "1").state == loaded.state
      )
    }
  }

  // MARK: When

  /// A state that does not come back from its own encoding.
  struct Forgetful: Aggregate, Equatable {
    static let category = "account"
    static let snapshotPolicy = SnapshotPolicy<Forgetful>.every(1)
    var count = 0
    var unsaved = 0
    enum CodingKeys: String, CodingKey { case count }
    mutating func apply(_ event: AccountEvent) {
      count += 1
      unsaved += 1
    }
  }

  @Test("a state that does not come back from its own encoding is not kept")
  func forgetful() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append(try Self.events(12), to: "account-1", expecting: .noStream)
      let store = AggregateStore(log)
      for _ in 1...3 { #expect(try await store.load(Forgetful.self, "1").unsaved == 12) }
    }
  }

  @Test("policies: by events, by age, by a rule of one's own, never")
  func policies() {
    let growth = { (events: Int, age: Duration?) in
      SnapshotPolicy<Int>.Growth(events: events, age: age, state: 5, version: 50)
    }
    let byEvents = SnapshotPolicy<Int>.every(10)
    #expect(!byEvents.isDue(growth(9, .seconds(1e9))) && byEvents.isDue(growth(10, nil)))
    let byAge = SnapshotPolicy<Int>.every(10, orAfter: .seconds(60))
    #expect(
      !byAge.isDue(growth(9, .seconds(59))) && byAge.isDue(growth(1, .seconds(60))) && byAge.isDue(growth(10, nil)))
    #expect(!byAge.isDue(growth(0, .seconds(60))) && !byAge.isDue(growth(9, nil)))
    let own = SnapshotPolicy<Int>.when { $0.state == 5 && $0.version > 40 }
    #expect(own.isDue(growth(1, nil)))
    #expect(!SnapshotPolicy<Int>.never.isDue(growth(1_000_000, nil)))
  }

  @Test("the background service makes the snapshots of streams that grow, and ends with what waits done")
  func service() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let store = AggregateStore(log, Account.self)
      try await store.create(Account.self, "old") { _ in
        Array(repeating: .deposited(amount: 1, note: nil), count: 20)
      }
      let service = Task { try await store.run() }
      // Loaded while it runs: made by it.
      while try await database.number("SELECT count(*) FROM eventstore.snapshots") == 0 {
        _ = try await store.load(Account.self, "old")
        try await Task.sleep(for: .milliseconds(20))
      }
      // Never loaded.
      for id in 0..<5 {
        try await store.create(Account.self, "\(id)") { _ in
          Array(repeating: .deposited(amount: 1, note: nil), count: 8 + id)
        }
      }
      while try await database.number("SELECT count(DISTINCT stream_id) FROM eventstore.snapshots") < 4 {
        try await Task.sleep(for: .milliseconds(20))
      }
      service.cancel()
      try? await service.value
      let names = try await database.column(
        "SELECT DISTINCT name FROM eventstore.snapshots JOIN eventstore.streams USING (stream_id) ORDER BY 1",
        as: String.self)
      #expect(names == ["account-2", "account-3", "account-4", "account-old"])
    }
  }
}
