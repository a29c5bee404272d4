import EventStore
import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@testable import Replay

/// Parts of history, and what does not fit.
extension FoldTests {
  @Test("another category than the file's is refused")
  func otherCategory() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append([Samples.deposit("1")], to: "order-1", expecting: .noStream)
      for scope in [ReplayScope.stream("order-1", .latest), .categories(["order"], until: nil)] {
        await #expect {
          try await rows(Samples.balance(), scope, log)
        } throws: { ($0 as? ReadModelError)?.problem.contains("not of order") == true }
      }
    }
  }

  @Test("large payloads travel in several sets; a table may have a column t")
  func largePayloads() async throws {
    try await TestDatabase.required.withLog { log in
      let text = """
        -- read model: sizes
        -- version: 1
        CREATE TABLE sizes (t text PRIMARY KEY, bytes bigint);
        -- on: large
        INSERT INTO sizes AS s SELECT stream, sum(length(data->>'x')) FROM events GROUP BY stream
            ON CONFLICT (t) DO UPDATE SET bytes = s.bytes + excluded.bytes;
        """
      let body = Payload.json("{\"x\":\"\(String(repeating: "y", count: 9 << 20))\"}")
      for version in 0..<8 {
        try await log.append(
          [EventData(type: "large", payload: body)], to: "large-1", expecting: .exact(version))
      }
      let events = try await log.read("large-1").collect()
      #expect(try EventSets.divide(events, for: ReadModel(text, file: "f")).count == 3)
      let found = try await rows(text, .stream("large-1", .latest), log)
      #expect(found == ["{\"t\":\"large-1\",\"bytes\":\(8 * (9 << 20))}"])
    }
  }

  @Test("moments that a stream does not have")
  func moments() async throws {
    try await TestDatabase.required.withLog { log in
      try await log.append([Samples.deposit("1", at: 1000)], to: "account-1", expecting: .noStream)
      await #expect {
        try await rows(Samples.balance(), .stream("account-2", .latest), log)
      } throws: { if case AggregateError.notFound("account-2") = $0 { true } else { false } }
      await #expect {
        try await rows(Samples.balance(), .stream("account-1", .version(2)), log)
      } throws: {
        if case AggregateError.versionNotReached("account-1", asked: 2, last: 1) = $0 { true } else { false }
      }
      await #expect {
        try await rows(Samples.balance(), .stream("account-1", .version(0)), log)
      } throws: {
        if case AggregateError.versionNotReached("account-1", asked: 0, last: 1) = $0 { true } else { false }
      }
      await #expect {
        try await rows(Samples.balance(), .stream("account-1", .time(Date(timeIntervalSince1970: 999))), log)
      } throws: { if case AggregateError.notYet = $0 { true } else { false } }
    }
  }

  @Test("each step's rows, and what differs between two versions")
  func steps() async throws {
    try await TestDatabase.required.withLog({ $0.pageSize = 3 }) { log in
      let events = (1...10).map { $0 % 4 == 0 ? Samples.withdrawal("1") : Samples.deposit("\($0)") }
      try await log.append(events, to: "account-1", expecting: .noStream)
      let model = try ReadModel(Samples.balance(), file: "f.sql")
      var told: [Int] = []
      try await model.withSteps(of: "account-1", from: 2, in: log) { event, changes in
        told.append(event.version)
        #expect(changes.count == 1 && changes[0].table == "balance")
        let before = try await rows(Samples.balance(), .stream("account-1", .version(event.version - 1)), log)
        let after = try await rows(Samples.balance(), .stream("account-1", .version(event.version)), log)
        #expect(changes[0].before == before.first && changes[0].after == after.first)
      }
      #expect(told == Array(2...10))
      for versions in [0...1, 0...10, 2...7, 3...6, 9...10] {
        let changes = try await model.changes(of: "account-1", between: versions, in: log)
        let after = try await rows(Samples.balance(), .stream("account-1", .version(versions.upperBound)), log)
        let before =
          versions.lowerBound == 0
          ? [] : try await rows(Samples.balance(), .stream("account-1", .version(versions.lowerBound)), log)
        #expect(changes == [RowChange(table: "balance", before: before.first, after: after.first)])
      }
    }
  }
}
