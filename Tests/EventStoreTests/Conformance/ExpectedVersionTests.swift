import EventStore
import FoundationEssentials
import Testing

@Suite("Expected versions", .timeLimit(.minutes(15)))
struct ExpectedVersionTests {
  /// What an append does to a stream of so many events.
  struct Expectation: Sendable, CustomTestStringConvertible {
    let existing: Int
    let expected: ExpectedVersion
    let succeeds: Bool

    var testDescription: String { "\(existing) events, expecting \(expected)" }
  }

  static let expectations: [Expectation] = [
    Expectation(existing: 0, expected: .noStream, succeeds: true),
    Expectation(existing: 0, expected: .exact(0), succeeds: true),
    Expectation(existing: 0, expected: .exact(1), succeeds: false),
    Expectation(existing: 0, expected: .streamExists, succeeds: false),
    Expectation(existing: 0, expected: .any, succeeds: true),
    Expectation(existing: 3, expected: .noStream, succeeds: false),
    Expectation(existing: 3, expected: .exact(0), succeeds: false),
    Expectation(existing: 3, expected: .exact(2), succeeds: false),
    Expectation(existing: 3, expected: .exact(3), succeeds: true),
    Expectation(existing: 3, expected: .exact(4), succeeds: false),
    Expectation(existing: 3, expected: .streamExists, succeeds: true),
    Expectation(existing: 3, expected: .any, succeeds: true),
  ]

  @Test(
    "an append succeeds if the stream is where its writer believes, else tells where it is",
    arguments: Backend.all)
  func verdicts(backend: Backend) async throws {
    try await backend.withLog { log in
      for (number, expectation) in Self.expectations.enumerated() {
        let stream = try StreamName(category: "account", id: "\(number)")
        if expectation.existing > 0 {
          try await log.append(EventData.samples(expectation.existing), to: stream, expecting: .noStream)
        }
        let error = await appendError { () throws(AppendError) in
          let appended = try await log.append(
            [.sample(), .sample()], to: stream, expecting: expectation.expected)
          #expect(appended.stream == stream)
          #expect(appended.firstVersion == expectation.existing + 1)
          #expect(appended.version == expectation.existing + 2)
          #expect(appended.positions.count == 2 && appended.positions[0] < appended.positions[1])
          #expect(!appended.wasDuplicate)
        }
        if expectation.succeeds {
          #expect(error == nil, "\(expectation.testDescription)")
        } else if case .conflict(let conflict)? = error {
          #expect(
            conflict
              == VersionConflict(
                stream: stream, expected: expectation.expected, actual: expectation.existing))
        } else {
          Issue.record(
            "\(expectation.testDescription): expected a conflict, found \(String(describing: error))")
        }
        let count = expectation.existing + (expectation.succeeds ? 2 : 0)
        #expect(try await log.version(of: stream) == (count == 0 ? nil : count))
        #expect(try await log.read(stream).collect().map(\.version) == Array(1..<count + 1))
      }
    }
  }

  @Test("a conflict is told also for a stream that another append has just made", arguments: Backend.all)
  func conflictAfterCreation(backend: Backend) async throws {
    try await backend.withLog { log in
      try await log.append([.sample()], to: "account-1", expecting: .noStream)
      for expected in [ExpectedVersion.noStream, .exact(0)] {
        let error = await appendError { () throws(AppendError) in
          try await log.append([.sample()], to: "account-1", expecting: expected)
        }
        guard case .conflict(let conflict)? = error else {
          Issue.record("expected a conflict, found \(String(describing: error))")
          continue
        }
        #expect(conflict.actual == 1)
      }
    }
  }
}
