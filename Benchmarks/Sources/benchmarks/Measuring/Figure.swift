/// A line of the report: medians of the rounds. The ratio is the median of the rounds' ratios, not that of the medians.
struct Figure: Sendable, Codable {
  let scenario: String
  /// What was measured, with its unit.
  let measure: String
  let rounds: Int
  let ours: Double
  /// The yardstick and what follows from it: not there for a figure that stands alone.
  var yardstick: Double?
  var ratio: Double?
  var lowerQuartile: Double?
  var upperQuartile: Double?
  var target: String?
  var isMet: Bool?
}
