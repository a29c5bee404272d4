/// One side of a comparison: the event store, or the yardstick. Lives through all rounds of a scenario.
protocol Contestant: Sendable {
  /// Before each round, not timed.
  func prepareRound() async throws
  /// One round. Where the work is of fixed size, `duration` does not matter.
  func run(for duration: Duration) async throws -> Sample
  /// After the last round, also after an error.
  func end() async
}

extension Contestant {
  func prepareRound() async throws {}
  func end() async {}
}
