import EventStore
import EventStoreTesting
import FoundationEssentials
import Synchronization
import Testing

@Suite("The log in memory")
struct InMemoryEventLogTests {
  /// A clock that stands still until it is told otherwise.
  final class Clock: Sendable {
    private let time = Mutex(Date(timeIntervalSince1970: 1_000_000))
    var now: Date { time.withLock { $0 } }
    func advance(by seconds: Double) { time.withLock { $0 += seconds } }
  }

  @Test("takes its time from the clock it is given")
  func clock() async throws {
    let clock = Clock()
    let log = InMemoryEventLog { clock.now }
    try await log.append([.sample("early")], to: "account-1", expecting: .noStream)
    clock.advance(by: 3600)
    try await log.append([.sample("late")], to: "account-1", expecting: .exact(1))
    let events = try await log.read("account-1").collect()
    #expect(events.map(\.recordedAt.timeIntervalSince1970) == [1_000_000, 1_003_600])
    let early = try await log.read("account-1", .until(Date(timeIntervalSince1970: 1_001_000))).collect()
    #expect(early.map(\.text) == ["early"])
  }

  @Test("two logs share nothing")
  func apart() async throws {
    let (first, second) = (InMemoryEventLog(), InMemoryEventLog())
    try await first.append([.sample()], to: "account-1", expecting: .noStream)
    let version = try await second.version(of: "account-1")
    #expect(version == nil)
  }
}
