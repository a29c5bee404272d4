import EventStore
import FoundationEssentials
import Glibc
import PostgreSQL
import Synchronization
import TestSupport
import Testing

@Suite("kill -9 of the server", .timeLimit(.minutes(15)))
struct ServerCrashTests {
  /// What the log told a writer.
  struct Acknowledged: Hashable, Sendable {
    let id: UUID
    let stream: StreamName
    let version: Int
    let position: Position
  }

  /// What the writers of one test share.
  final class Run: Sendable {
    private let state = Mutex<(acknowledged: [Acknowledged], isOver: Bool)>(([], false))

    var acknowledged: [Acknowledged] { state.withLock { $0.acknowledged } }
    var isOver: Bool { state.withLock { $0.isOver } }
    func add(_ appended: [Acknowledged]) { state.withLock { $0.acknowledged += appended } }
    func end() { state.withLock { $0.isOver = true } }
  }

  enum Victim: CaseIterable, Sendable {
    /// The first process: everything ends, and somebody must start the server again.
    case postmaster
    /// A connection's process: the server recovers by itself.
    case backend
  }

  @Test(
    "every acknowledged event is there, once, and appends go on by themselves", arguments: Victim.allCases)
  func killed(victim: Victim) async throws {
    try await IsolatedServer.with { server in
      let run = Run()
      try await server.database.withLog({
        $0.appendPatience = .seconds(60)
        // As long.
        $0.subscriptionRetries = 40
      }) { log in
        let follower = Task { await Self.follow(log) }
        try await withThrowingTaskGroup { group in
          for writer in 0..<8 {
            group.addTask {
              try await Self.write(log, writer, run)
            }
          }
          group.addTask {
            // Whatever happens: the group waits for its writers.
            defer { run.end() }
            for _ in 0..<2 {
              try await Task.sleep(for: .milliseconds(500))
              try await Self.kill(victim, of: server)
            }
            try await eventually("enough was appended", within: .seconds(120)) { run.acknowledged.count > 100 }
          }
          try await group.waitForAll()
        }
        try await log.append([.sample(type: "test.end")], to: "end-1", expecting: .noStream)

        let told = run.acknowledged
        let all = try await log.readAll().collect()
        let found = all.map {
          Acknowledged(id: $0.id, stream: $0.stream, version: $0.version, position: $0.position)
        }
        #expect(Set(found).count == found.count && Set(found.map(\.id)).count == found.count)
        #expect(Set(told).subtracting(found).isEmpty)
        // Nobody was told of nothing else: every append came back in the end.
        #expect(found.count == told.count + 1)
        for (stream, events) in Dictionary(grouping: all, by: \.stream) {
          #expect(events.map(\.version) == Array(1..<events.count + 1), "\(stream)")
        }
        #expect(all.allSatisfy { (try? $0.payload.get()) != nil })
        #expect(await follower.value == all.map(\.position))
      }
    }
  }

  private static func write(
    _ log: PostgreSQLEventLog, _ writer: Int, _ run: Run
  ) async throws {
    let own = try StreamName(category: "own", id: "\(writer)")
    var version = 0
    while !run.isOver {
      let events = EventData.samples(2)
      let isShared = Int.random(in: 0..<3) == 0
      let stream: StreamName = isShared ? "shared-1" : own
      let appended = try await log.append(events, to: stream, expecting: isShared ? .any : .exact(version))
      if !isShared { version = appended.version }
      run.add(
        events.indices.map {
          Acknowledged(
            id: events[$0].id, stream: stream, version: appended.firstVersion + $0,
            position: appended.positions[$0])
        })
    }
  }

  /// A subscription that goes on across the crashes.
  private static func follow(_ log: PostgreSQLEventLog) async -> [Position] {
    var positions: [Position] = []
    do throws(ReadError) {
      for try await event in log.subscribe() {
        positions.append(event.position)
        if event.type == "test.end" { break }
      }
    } catch {
      Issue.record("the subscription ended after \(positions.count) events: \(error)")
    }
    return positions
  }

  private static func kill(_ victim: Victim, of server: IsolatedServer) async throws {
    switch victim {
    case .postmaster:
      try await server.kill()
      try await server.restart()
    case .backend:
      let pid = try await backend(of: server)
      Glibc.kill(pid_t(pid), SIGKILL)
    }
  }

  /// The process of one of the log's connections. While the server still recovers, or the log has not yet connected
  /// again, it is asked again.
  private static func backend(of server: IsolatedServer) async throws -> Int {
    let query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'eventstore' AND pid <> pg_backend_pid() "
    while true {
      do {
        let pids = try await server.database.column(query + "ORDER BY random() LIMIT 1", as: Int.self)
        if let pid = pids.first { return pid }
      } catch let error as PostgreSQLError where error.isUnavailable {
        // It still recovers.
      }
      try await Task.sleep(for: .milliseconds(20))
    }
  }
}
