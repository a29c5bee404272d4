extension StoreOptions {
  /// Shows something once; with an interval, in seconds, again and again, until interrupted or until nobody reads it any more.
  func show(
    every interval: Double?, _ body: @escaping @Sendable (StandardOutput) async throws -> Void
  ) async throws {
    guard let interval else {
      let output = StandardOutput()
      try await body(output)
      return output.flush()
    }
    let (environment, json) = (CommandEnvironment.current, json)
    try await StandardOutput.whileRead {
      try await CommandEnvironment.$current.withValue(environment) {
        let output = StandardOutput()
        do {
          while true {
            if !json { output.clear() }
            try await body(output)
            output.flush()
            try await Task.sleep(for: .seconds(interval))
          }
        } catch is CancellationError {
          // Interrupted: that is how watching ends.
        }
      }
    }
  }
}
