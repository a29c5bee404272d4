import PostgreSQL
import TestSupport
import Testing

@testable import EventStore

@Suite("Closing a log", .database, .timeLimit(.minutes(15)))
struct ClosingTests {
  @Test("it ends although callers go on appending, and each is told what became of his append")
  func busy() async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      let acknowledged = try await withThrowingTaskGroup(of: Int.self) { group in
        for writer in 0..<8 {
          group.addTask {
            var version = 0
            while true {
              do throws(AppendError) {
                _ = try await log.append(
                  [.sample()], to: StreamName(trusted: "order-\(writer)"), expecting: .exact(version))
                version += 1
              } catch {
                guard case .unavailable(let reason) = error else {
                  Issue.record("\(error)")
                  return version
                }
                #expect(reason.code == .closed)
                return version
              }
            }
          }
        }
        while try await database.number("SELECT count(*) FROM eventstore.events") < 100 {
          try await Task.sleep(for: .milliseconds(5))
        }
        await log.close()
        return try await group.reduce(0, +)
      }
      #expect(try await database.number("SELECT count(*) FROM eventstore.events") == acknowledged)
      await #expect(throws: AppendError.self) { try await log.append([.sample()], to: "order-9", expecting: .any) }
    }
  }
}
