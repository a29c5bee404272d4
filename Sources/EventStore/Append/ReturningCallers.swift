/// How many of the callers that are told of their appends come back with the next at once.
///
/// Those who append in a loop, or for many clients, do; those who append now and then do not. It is learned from what
/// came of waiting for them: the share falls quickly, and rises slowly.
struct ReturningCallers {
  private var share = 1.0
  private var batchesUntilNextTry = 0
  private static let batchesBetweenTries = 64

  /// How many events it pays to wait for.
  ///
  /// - Parameters:
  ///   - told: The events of those who are told now.
  ///   - waiting: Events that could go without waiting: for fewer than half as many more it does not pay.
  ///   - most: Events that make a batch large enough.
  /// - Returns: 0: none.
  mutating func worthWaitingFor(of told: Int, besides waiting: Int, upTo most: Int) -> Int {
    guard told > 1, waiting < most else { return 0 }
    let expected = min(Int((Double(told) * share).rounded()), most - waiting)
    if expected > 0, 2 * expected >= waiting { return expected }
    batchesUntilNextTry -= 1
    guard batchesUntilNextTry <= 0 else { return 0 }
    batchesUntilNextTry = Self.batchesBetweenTries
    return min(told, most - waiting)
  }

  /// - Parameters:
  ///   - returned: Events that came while `expected` were waited for.
  ///   - told: The events of those who had been told.
  mutating func waited(for expected: Int, of told: Int, returned: Int) {
    if returned >= expected {
      share = max(share, Double(expected) / Double(told))
      share += (1 - share) / 16
    } else {
      share += (Double(returned) / Double(told) - share) / 2
    }
  }
}
