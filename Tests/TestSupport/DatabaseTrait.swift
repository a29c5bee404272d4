public import Testing

/// Gives each test, and each of its cases, a database of its own: see ``TestDatabase/current``.
public struct DatabaseTrait: TestTrait, SuiteTrait, TestScoping {
  public var isRecursive: Bool { true }

  public func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable @concurrent () async throws -> Void
  ) async throws {
    try await TestDatabase.with { database in
      try await TestDatabase.$current.withValue(database) { try await function() }
    }
  }
}

extension Trait where Self == DatabaseTrait {
  /// A database of the test's own, migrated and empty.
  public static var database: Self { DatabaseTrait() }
}
