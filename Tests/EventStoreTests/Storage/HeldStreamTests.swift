import PostgreSQL
import Synchronization
import TestSupport
import Testing

@testable import EventStore

@Suite("Streams that an open transaction holds", .database, .timeLimit(.minutes(15)))
struct HeldStreamTests {
  private static func stream(_ number: Int) -> StreamName { StreamName(trusted: "order-\(number)") }

  /// What came of appends, as far as they have ended.
  private final class Told: Sendable {
    private let results = Mutex<[String: Result<Appended, any Error>]>([:])
    private let started = Mutex<Set<String>>([])

    func append(_ log: PostgreSQLEventLog, _ name: String, to stream: StreamName, _ expected: ExpectedVersion) async {
      started.withLock { _ = $0.insert(name) }
      let result: Result<Appended, any Error>
      do { result = .success(try await log.append([.sample(name)], to: stream, expecting: expected)) } catch {
        result = .failure(error)
      }
      results.withLock { $0[name] = result }
    }

    subscript(name: String) -> Result<Appended, any Error>? { results.withLock { $0[name] } }
    func hasStarted(_ name: String) -> Bool { started.withLock { $0.contains(name) } }
    var names: Set<String> { results.withLock { Set($0.keys) } }
  }

  /// Two logs of one store, whose first forty streams have an event; the second knows them, and waits for very long.
  private static func withLogs(
    lanes: Int = 2, connections: Int = 10,
    _ body: (_ holder: PostgreSQLEventLog, _ log: PostgreSQLEventLog) async throws -> Void
  ) async throws {
    let database = try TestDatabase.required
    try await database.withLog { holder in
      try await database.withLog({
        $0.appendLanes = lanes
        $0.connection.maximumConnections = connections
        $0.connection.statementTimeout = .seconds(600)
      }) { log in
        // A connection that is made later leads to questions, in which one append may overtake another.
        var leases: [ConnectionPool.Lease] = []
        for _ in 0..<connections { leases.append(try await log.pool.lease()) }
        leases = []
        try await log.append((0..<40).map { StreamAppend([.sample("0")], to: stream($0), expecting: .noStream) })
        try await body(holder, log)
      }
    }
  }

  @Test(
    "whatever travels with appends to them does not wait for it, and they come to their end with it",
    arguments: [[7], [3, 4, 20, 21, 22, 39], Array(2..<39)], [1, 2])
  func others(heldStreams: [Int], lanes: Int) async throws {
    try await Self.withLogs(lanes: lanes) { holder, log in
      let told = Told()
      try await withThrowingTaskGroup(of: Void.self) { group in
        try await holder.withTransaction { (transaction: borrowing Transaction) in
          for number in heldStreams {
            try await holder.append([.sample("h")], to: Self.stream(number), expecting: .exact(1), in: transaction)
          }
          for number in 0..<40 {
            group.addTask { await told.append(log, "\(number)", to: Self.stream(number), .exact(1)) }
          }
          try await eventually("all others are told") { told.names.count >= 40 - heldStreams.count }
          // Later ones, too.
          for version in 2...4 {
            await told.append(log, "later \(version)", to: Self.stream(0), .exact(version))
            #expect(try told["later \(version)"]?.get().version == version + 1)
          }
        }
        try await group.waitForAll()
      }
      for number in 0..<40 {
        let result = try #require(told["\(number)"])
        if heldStreams.contains(number) {
          guard case .failure(let error as AppendError) = result, case .conflict(let conflict) = error else {
            Issue.record("expected a conflict, found \(result)")
            continue
          }
          #expect(conflict.actual == 2)
        } else {
          #expect(try result.get().version == 2)
        }
        let texts = try await log.read(Self.stream(number)).collect().map(\.text)
        let later = number == 0 ? ["later 2", "later 3", "later 4"] : []
        #expect(texts == ["0", heldStreams.contains(number) ? "h" : "\(number)"] + later)
      }
    }
  }

  @Test(
    "appends without an expected version keep the order in which they came; rolled back, the holder was never there")
  func order() async throws {
    struct Undo: Error {}
    try await Self.withLogs { holder, log in
      let told = Told()
      try await withThrowingTaskGroup(of: Void.self) { group in
        try? await holder.withTransaction { (transaction: borrowing Transaction) in
          for number in [7, 8] {
            try await holder.append([.sample("h")], to: Self.stream(number), expecting: .exact(1), in: transaction)
          }
          for number in 0..<60 {
            group.addTask { await told.append(log, "\(number)", to: Self.stream(7 + number % 3), .any) }
            // The later ones come in this order.
            if number < 20 { continue }
            try await eventually("it has begun") { told.hasStarted("\(number)") }
            try await Task.sleep(for: .milliseconds(10))
          }
          try await eventually("the others are told") { told.names.count >= 20 }
          #expect(told.names.allSatisfy { Int($0).map { $0 % 3 == 2 } ?? false })
          throw Undo()
        }
        try await group.waitForAll()
      }
      for number in 0..<60 { #expect(throws: Never.self) { _ = try told["\(number)"]?.get() } }
      #expect(told.names.count == 60)
      for part in 0..<2 {
        let read = try await log.read(Self.stream(7 + part)).collect()
        #expect(read.map(\.version) == Array(1...21))
        // Those that came one by one; they found the earlier ones under way.
        let later = read.compactMap { Int($0.text) }.filter { $0 >= 21 }
        #expect(later == later.sorted())
        #expect(later.count >= 13)
        #expect(read.dropFirst().allSatisfy { Int($0.text).map { $0 % 3 == part } ?? false })
      }
    }
  }

  @Test("one who gives up waiting is gone, also from the line, and its stream is free for others", arguments: [4, 10])
  func cancelled(connections: Int) async throws {
    try await Self.withLogs(connections: connections) { holder, log in
      let told = Told()
      try await holder.withTransaction { (transaction: borrowing Transaction) in
        for number in 0..<8 {
          try await holder.append([.sample("h")], to: Self.stream(number), expecting: .exact(1), in: transaction)
        }
        let waiting = (0..<8).map { number in
          Task { await told.append(log, "\(number)", to: Self.stream(number), number == 0 ? .any : .exact(1)) }
        }
        let last = Task { await told.append(log, "last", to: Self.stream(0), .any) }
        // Once these are told the lanes have set the others aside.
        await told.append(log, "8", to: Self.stream(8), .exact(1))
        try await Task.sleep(for: .milliseconds(500))
        for task in waiting { task.cancel() }
        try await eventually("the cancelled are told") { told.names.count == 9 }
        for number in 0..<8 {
          guard case .failure(let error as AppendError)? = told["\(number)"], case .cancelled = error else {
            Issue.record("expected it to be cancelled, found \(String(describing: told["\(number)"]))")
            continue
          }
        }
        #expect(told["last"] == nil)
        Task { await last.value }
      }
      try await eventually("the last is told") { told["last"] != nil }
      #expect(try told["last"]?.get().version == 3)
      for number in 0..<8 {
        #expect(
          try await log.read(Self.stream(number)).collect().map(\.text) == ["0", "h"] + (number == 0 ? ["last"] : []))
      }
    }
  }

  @Test("lone callers who wait leave the lanes to others, however many they are", arguments: [4, 5, 10])
  func lone(connections: Int) async throws {
    try await Self.withLogs(connections: connections) { holder, log in
      let told = Told()
      try await withThrowingTaskGroup(of: Void.self) { group in
        // What the log believes of some is wrong by then. Of what was seen before a connection was made nothing is believed.
        var leases: [ConnectionPool.Lease] = []
        while leases.count < connections - 2 { leases.append(try await log.pool.lease()) }
        leases.removeAll()
        for number in 0..<3 {
          try await log.append([.sample("1")], to: Self.stream(number), expecting: .exact(1))
          try await holder.append([.sample("before")], to: Self.stream(number), expecting: .exact(2))
        }
        try await holder.withTransaction { (transaction: borrowing Transaction) in
          for number in 0..<7 {
            try await holder.append([.sample("h")], to: Self.stream(number), expecting: .any, in: transaction)
          }
          for number in 0..<7 {
            group.addTask {
              await told.append(log, "\(number)", to: Self.stream(number), number == 0 ? .streamExists : .any)
            }
            try await Task.sleep(for: .milliseconds(150))
          }
          for number in 7..<10 {
            await told.append(log, "\(number)", to: Self.stream(number), .exact(1))
          }
          #expect(told.names == ["7", "8", "9"])
        }
        try await group.waitForAll()
      }
      for number in 0..<10 {
        #expect(try told["\(number)"]?.get().version == (number < 3 ? 5 : number < 7 ? 3 : 2))
      }
    }
  }

  @Test("those who wait in line come to their turn while others are held up still")
  func turns() async throws {
    try await Self.withLogs(connections: 5) { holder, log in
      let told = Told()
      try await withThrowingTaskGroup(of: Void.self) { group in
        try await holder.withTransaction { (long: borrowing Transaction) in
          for number in 0..<20 {
            try await holder.append([.sample("h")], to: Self.stream(number), expecting: .exact(1), in: long)
          }
          try await holder.withTransaction { (short: borrowing Transaction) in
            try await holder.append([.sample("h")], to: Self.stream(20), expecting: .exact(1), in: short)
            for number in 0..<21 {
              group.addTask { await told.append(log, "\(number)", to: Self.stream(number), .any) }
            }
            try await Task.sleep(for: .seconds(1))
            #expect(told.names.isEmpty)
          }
          try await eventually("the one whose lock is free is told") { told.names == ["20"] }
        }
        try await group.waitForAll()
      }
      for number in 0..<21 { #expect(try told["\(number)"]?.get().version == 3) }
    }
  }

  @Test("lone callers, too, come to their turn while another is held up still", arguments: [3, 4, 5])
  func turnsOfLoneCallers(connections: Int) async throws {
    try await Self.withLogs(connections: connections) { holder, log in
      let told = Told()
      try await withThrowingTaskGroup(of: Void.self) { group in
        try await holder.withTransaction { (long: borrowing Transaction) in
          try await holder.append([.sample("h")], to: Self.stream(0), expecting: .exact(1), in: long)
          group.addTask { await told.append(log, "0", to: Self.stream(0), .any) }
          try await Task.sleep(for: .milliseconds(400))
          try await holder.withTransaction { (short: borrowing Transaction) in
            try await holder.append([.sample("h")], to: Self.stream(1), expecting: .exact(1), in: short)
            group.addTask { await told.append(log, "1", to: Self.stream(1), .any) }
            try await Task.sleep(for: .seconds(1))
          }
          try await eventually("the one whose lock is free is told") { told.names == ["1"] }
        }
        try await group.waitForAll()
      }
      for number in 0..<2 { #expect(try told["\(number)"]?.get().version == 3) }
    }
  }

  @Test("two callers who are held up at the same time leave the lanes to others, and can give up", arguments: [5, 10])
  func atTheSameTime(connections: Int) async throws {
    try await Self.withLogs(connections: connections) { holder, log in
      // Each lane has its connection.
      for _ in 0..<20 {
        try await withThrowingTaskGroup(of: Void.self) { group in
          for number in 10..<12 {
            group.addTask { _ = try await log.append([.sample("1")], to: Self.stream(number), expecting: .any) }
          }
          try await group.waitForAll()
        }
      }
      let told = Told()
      try await holder.withTransaction { (transaction: borrowing Transaction) in
        for number in 0..<2 {
          try await holder.append([.sample("h")], to: Self.stream(number), expecting: .exact(1), in: transaction)
        }
        var waiting: [Task<Void, Never>] = []
        for number in 0..<2 {
          waiting.append(Task { await told.append(log, "\(number)", to: Self.stream(number), .any) })
          try await eventually("it has begun") { told.hasStarted("\(number)") }
          try await Task.sleep(for: .milliseconds(20))
        }
        try await Task.sleep(for: .milliseconds(500))
        await withTaskGroup { group in
          for number in 2..<6 {
            group.addTask { await told.append(log, "\(number)", to: Self.stream(number), .exact(1)) }
          }
        }
        for task in waiting { task.cancel() }
        for task in waiting { await task.value }
        #expect(told.names.count == 6)
      }
    }
  }

  @Test("what waits only for one that is given up goes then")
  func behindOneThatIsGivenUp() async throws {
    try await Self.withLogs { holder, log in
      let told = Told()
      try await holder.withTransaction { (transaction: borrowing Transaction) in
        try await holder.append([.sample("h")], to: Self.stream(0), expecting: .exact(1), in: transaction)
        let held = Task { await told.append(log, "held", to: Self.stream(0), .any) }
        try await Task.sleep(for: .milliseconds(500))
        let both = Task {
          try await log.append([
            StreamAppend([.sample("both")], to: Self.stream(0), expecting: .any),
            StreamAppend([.sample("both")], to: Self.stream(1), expecting: .exact(1)),
          ])
        }
        try await Task.sleep(for: .milliseconds(100))
        let behind = Task { await told.append(log, "behind", to: Self.stream(1), .exact(1)) }
        try await Task.sleep(for: .milliseconds(100))
        #expect(told.names.isEmpty)
        both.cancel()
        _ = await both.result
        try await eventually("what was behind it is told") { told.names == ["behind"] }
        held.cancel()
        await held.value
        await behind.value
      }
      #expect(try told["behind"]?.get().version == 2)
    }
  }

  @Test("those that wait one behind the other do not wait for one another's time-outs")
  func timeoutsInTurn() async throws {
    let database = try TestDatabase.required
    try await database.withLog { holder in
      try await database.withLog({ $0.connection.statementTimeout = .seconds(3) }) { log in
        try await log.append([.sample("0")], to: Self.stream(0), expecting: .noStream)
        let told = Told()
        try await holder.withTransaction { (transaction: borrowing Transaction) in
          try await holder.append([.sample("h")], to: Self.stream(0), expecting: .exact(1), in: transaction)
          for number in 0..<20 {
            Task { await told.append(log, "\(number)", to: Self.stream(0), .streamExists) }
          }
          try await eventually("all are told") { told.names.count == 20 }
        }
        for name in told.names {
          guard case .failure(let error as AppendError)? = told[name], case .database(let reason) = error else {
            Issue.record("expected a time-out, found \(String(describing: told[name]))")
            continue
          }
          #expect(reason.code == .timeout)
        }
      }
    }
  }

  @Test("who waits for longer than a statement may is told so")
  func timeout() async throws {
    let database = try TestDatabase.required
    try await database.withLog { holder in
      try await database.withLog({ $0.connection.statementTimeout = .seconds(2) }) { log in
        try await log.append((0..<3).map { StreamAppend([.sample("0")], to: Self.stream($0), expecting: .noStream) })
        let told = Told()
        try await holder.withTransaction { (transaction: borrowing Transaction) in
          for number in 0..<3 {
            try await holder.append([.sample("h")], to: Self.stream(number), expecting: .exact(1), in: transaction)
          }
          await withTaskGroup { group in
            for number in 0..<3 {
              for part in 0..<3 {
                group.addTask { await told.append(log, "\(number) \(part)", to: Self.stream(number), .any) }
              }
            }
          }
        }
        for name in told.names {
          guard case .failure(let error as AppendError)? = told[name], case .database(let reason) = error else {
            Issue.record("expected a time-out, found \(String(describing: told[name]))")
            continue
          }
          #expect(reason.code == .timeout)
        }
        #expect(told.names.count == 9)
        let count = try await log.readAll().collect().count
        #expect(count == 6)
      }
    }
  }

  @Test("a log with few connections does what it can", arguments: 1...3)
  func noConnectionToSpare(connections: Int) async throws {
    try await Self.withLogs(lanes: 2, connections: connections) { holder, log in
      let told = Told()
      let waiting = try await holder.withTransaction { (transaction: borrowing Transaction) in
        try await holder.append([.sample("h")], to: Self.stream(1), expecting: .exact(1), in: transaction)
        let waiting = Task { await told.append(log, "1", to: Self.stream(1), .any) }
        try await Task.sleep(for: .milliseconds(500))
        let other = Task { await told.append(log, "2", to: Self.stream(2), .exact(1)) }
        if connections > 1 { await other.value }
        #expect(told["1"] == nil)
        return Task {
          await waiting.value
          await other.value
        }
      }
      await waiting.value
      #expect(try told["1"]?.get().version == 3 && told["2"]?.get().version == 2)
    }
  }
}
