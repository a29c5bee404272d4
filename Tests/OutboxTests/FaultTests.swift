import EventStore
import Foundation
import Outbox
import PostgreSQL
import TestSupport
import Testing

@Suite("Consumers that are killed", .database, .serialized, .timeLimit(.minutes(10)))
struct FaultTests {
  private static let policy = GroupPolicy(retry: RetryPolicy(.fixed(0.05), attempts: 4), breaker: nil)

  /// Sizes by the environment, to run it as large as one likes.
  private static func size(_ name: String, _ small: Int) -> Int {
    ProcessInfo.processInfo.environment["OUTBOX_\(name)"].flatMap { Int($0) } ?? small
  }

  private static var pause: Duration { .milliseconds(size("PAUSE", 250)) }

  @Test(
    "8 members in 3 processes, 2 groups, killed and started again all the time: order by key, none lost, dead letters as they must be",
    arguments: ["each", "batch"])
  func killed(how: String) async throws {
    let (events, keys) = (Self.size("EVENTS", 6_000), Self.size("KEYS", 300))
    let database = try TestDatabase.required
    try await withSharedLog(database) { log, keyring in
      let groups = ConsumerGroups(log)
      let names = ["one", "two"]
      for name in names { try await groups.create(ConsumerGroup(name, policy: Self.policy)) }
      let poison = try await append(events, keys: keys, to: log)
      let crew = try Crew(database, keyring, how: how, lease: 1, groups: names)
      defer { crew.end() }
      for _ in 0..<3 { try crew.start(members: [3, 3, 2][crew.count % 3]) }
      let end = try await groups.all().count
      #expect(end == 2)
      try await crew.kill(every: Self.pause) {
        var handled = true
        for name in names {
          let status = try await groups.status(of: name)
          let lag = try await groups.lag(of: status)
          handled = handled && status.handled >= events && lag.events == 0 && status.keysBehind == 0
        }
        return handled
      }
      let report = try Oracle.check(crew.journal, crew.deaths)
      #expect(report.problems == [])
      for name in names {
        #expect(report.done[name, default: []].count == events - poison.count, "group \(name)")
        let parked = Set(try await groups.parked(of: name, limit: .max).map { Int64($0.position.description) ?? 0 })
        #expect(parked == poison, "group \(name)")
      }
      #expect(report.starts >= 2 * events && crew.deaths.count >= 2)
      // What came again is what was in flight, or done in the last moments before a death.
      #expect(report.repeats <= crew.deaths.count * 3 * 8 * 60, "\(report.repeats) came again")
      print("\(how): \(report.starts) starts, \(report.repeats) handled again, \(crew.deaths.count) deaths")
    }
  }

  @Test("in transactions, under the same faults: every effect exactly once")
  func exactlyOnce() async throws {
    let (events, keys) = (Self.size("EVENTS", 6_000), Self.size("KEYS", 300))
    let database = try TestDatabase.required
    try await database.sql(
      "CREATE TABLE effects (consumers text NOT NULL, position bigint NOT NULL, epoch bigint NOT NULL)")
    try await withSharedLog(database) { log, keyring in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("one", policy: Self.policy))
      let poison = try await append(events, keys: keys, to: log)
      let crew = try Crew(database, keyring, how: "transaction", lease: 1, groups: ["one"])
      defer { crew.end() }
      for _ in 0..<3 { try crew.start(members: 2) }
      try await crew.kill(every: Self.pause) {
        let count = try await database.number("SELECT count(*) FROM effects")
        let parked = try await database.number("SELECT count(*) FROM eventstore.outbox_parked")
        return count + parked >= events
      }
      let count = try await database.number("SELECT count(*) FROM effects")
      let twice = try await database.column(
        "SELECT string_agg(position || ' at ' || epoch, ', ') FROM effects GROUP BY position HAVING count(*) > 1 LIMIT 10",
        as: String.self)
      #expect(twice == [])
      #expect(count == events - poison.count)
      #expect(try await database.number("SELECT count(DISTINCT position) FROM effects") == events - poison.count)
    }
  }

  @Test("a consumer that is stopped for longer than its lease: when it goes on, nothing that it says is accepted")
  func stopped() async throws {
    let database = try TestDatabase.required
    try await withSharedLog(database) { log, keyring in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("one", policy: Self.policy))
      let crew = try Crew(database, keyring, how: "each", lease: 1, groups: ["one"])
      defer { crew.end() }
      try crew.start(members: 1)
      let total = 3_000
      async let poison = append(total, keys: 50, to: log)
      try await eventually("it is at work") { try await groups.status(of: "one").handled > 200 }
      let sleeper = try await crew.stopOne()
      try crew.start(members: 1)
      let lost = try await poison
      try await eventually("the other has taken over and is done", within: .seconds(60)) {
        let status = try await groups.status(of: "one")
        let lag = try await groups.lag(of: status)
        return status.handled >= total && lag.events == 0 && status.keysBehind == 0
      }
      let place = try await database.column(
        "SELECT string_agg(position || ' ' || handled, ',' ORDER BY cursor_id) FROM eventstore.outbox_positions",
        as: String.self)
      crew.wake(sleeper)
      try await Task.sleep(for: .seconds(2))
      let after = try await database.column(
        "SELECT string_agg(handled::text, ',' ORDER BY cursor_id) FROM eventstore.outbox_positions", as: String.self)
      // It may be a member again by now, and have half of the shards: but nothing was counted twice.
      let counted = try await database.number("SELECT sum(handled)::bigint FROM eventstore.outbox_positions")
      #expect(counted == total, "\(place) \(after)")
      let report = try Oracle.check(crew.journal, crew.deaths)
      #expect(report.problems == [])
      #expect(report.done["one", default: []].count == total - lost.count)
    }
  }

  @Test(
    "clocks that jump an hour back and forth every second: no lease is lost, nothing comes twice, a delay is what it is"
  )
  func clocks() async throws {
    let database = try TestDatabase.required
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("clock-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let clock = try Self.jumpingClock(in: folder)
    try await withSharedLog(database) { log, keyring in
      let groups = ConsumerGroups(log)
      try await groups.create(ConsumerGroup("one", policy: Self.policy))
      var delayed = Self.policy
      delayed.delay = 1
      try await groups.create(ConsumerGroup("later", policy: delayed))
      let crew = try Crew(
        database, keyring, how: "each", lease: 1, groups: ["one", "later"], environment: ["LD_PRELOAD": clock])
      defer { crew.end() }
      for _ in 0..<2 { try crew.start(members: 1) }
      // They have met, and each has its half.
      try await eventually("two members") {
        let members = try await groups.members(of: "one")
        return members.count == 2 && members.allSatisfy { $0.shards > 0 }
      }
      let before = try await groups.members(of: "one").map(\.id).sorted()
      let total = 3_000
      var poison = 0
      let start = Crew.now
      poison = try await append(total, keys: 100, to: log).count
      // Four jumps at least.
      try await Task.sleep(for: .seconds(4))
      try await eventually("all of it", within: .seconds(60)) {
        for name in ["one", "later"] {
          let status = try await groups.status(of: name)
          let lag = try await groups.lag(of: status)
          guard status.handled >= total, lag.events == 0, status.keysBehind == 0 else { return false }
        }
        return true
      }
      let report = try Oracle.check(crew.journal, crew.deaths)
      #expect(report.problems == [] && report.repeats == 0)
      for name in ["one", "later"] { #expect(report.done[name, default: []].count == total - poison) }
      // The same members: none was taken for dead.
      #expect(try await groups.members(of: "one").map(\.id).sorted() == before)
      let journal = try String(contentsOf: crew.journal, encoding: .utf8)
      var first = UInt64.max
      for line in journal.split(separator: "\n") {
        let parts = line.split(separator: " ")
        guard parts.count > 3, parts[0] == "S", parts[3] == "later", let time = UInt64(parts[1]) else { continue }
        first = min(first, time)
      }
      #expect(first != .max && first >= start + 1_000_000_000)
    }
  }

  /// A library that, loaded before all others, lets the time of day jump; time itself goes on.
  private static func jumpingClock(in folder: URL) throws -> String {
    let source = folder.appendingPathComponent("clock.c")
    try """
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <sys/time.h>
    #include <time.h>

    int clock_gettime(clockid_t clock, struct timespec *now) {
      int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
      int result = real(clock, now);
      struct timespec steady;
      if (clock == CLOCK_REALTIME && real(CLOCK_MONOTONIC, &steady) == 0)
        now->tv_sec += (steady.tv_sec % 3 - 1) * 3600;
      return result;
    }

    int gettimeofday(struct timeval *now, void *zone) {
      struct timespec time;
      int result = clock_gettime(CLOCK_REALTIME, &time);
      now->tv_sec = time.tv_sec;
      now->tv_usec = time.tv_nsec / 1000;
      return result;
    }
    """.write(to: source, atomically: true, encoding: .utf8)
    let library = folder.appendingPathComponent("clock.so").path
    let compiler = Process()
    compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    compiler.arguments = ["cc", "-shared", "-fPIC", "-o", library, source.path, "-ldl"]
    try compiler.run()
    compiler.waitUntilExit()
    try #require(compiler.terminationStatus == 0)
    return library
  }

  /// A log whose keyring other processes can read.
  private func withSharedLog(
    _ database: TestDatabase, _ body: (PostgreSQLEventLog, String) async throws -> Void
  ) async throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("keyring-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: file) }
    var configuration = database.configuration
    configuration.encryption = .sealed(try Keyring.create(file: file))
    try await PostgreSQLEventLog.withLog(configuration) { log in try await body(log, file) }
  }

  /// Streams in turn; 1 % of the events fail twice, 0.1 % always. Gives the positions of the latter.
  private func append(_ events: Int, keys: Int, to log: PostgreSQLEventLog) async throws -> Set<Int64> {
    var poison: Set<Int64> = []
    var random = SeededNumbers(seed: 7)
    for turn in 0..<(events / keys) {
      var appends: [StreamAppend] = []
      var fails: [Int] = []
      for key in 0..<keys {
        let fate = Int.random(in: 0..<1000, using: &random)
        fails.append(fate == 0 ? -1 : fate <= 10 ? 2 : 0)
        appends.append(
          StreamAppend(
            [EventData(type: "made", payload: .json("{\"fails\":\(fails[key])}"))], to: try StreamName("key-\(key)"),
            expecting: .exact(turn)))
      }
      for (number, appended) in try await log.append(appends).enumerated() where fails[number] < 0 {
        for position in appended.positions { poison.insert(Int64(position.description) ?? 0) }
      }
    }
    return poison
  }
}
