/// The most of a count in the last 8 to 16 batches.
struct MostOfLate {
  private var now = 0
  private var before = 0
  private var batches = 0

  var most: Int { max(now, before) }

  /// To be called whenever the count has risen.
  mutating func see(_ count: Int) { now = max(now, count) }

  /// To be called at each batch.
  mutating func next(from count: Int) {
    batches += 1
    guard batches == 8 else { return }
    (before, now, batches) = (now, count, 0)
  }
}
