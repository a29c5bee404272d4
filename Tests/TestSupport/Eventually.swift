package struct NotInTime: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// Waits until something holds.
///
/// - Throws: ``NotInTime``, and what `condition` throws.
package func eventually(
  _ what: String, within timeout: Duration = .seconds(30), _ condition: () async throws -> Bool
) async throws {
  let deadline = ContinuousClock.now + timeout
  while try await !condition() {
    guard ContinuousClock.now < deadline else { throw NotInTime("not within \(timeout): \(what)") }
    try await Task.sleep(for: .milliseconds(10))
  }
}
