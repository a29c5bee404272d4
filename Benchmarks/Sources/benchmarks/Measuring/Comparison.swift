import Histogram

/// How two samples of a round are compared, and what is asked of the ratio, ours to the yardstick's.
enum Comparison: Sendable {
  /// Events a second: more is better. Without `atLeast` it is only reported.
  case throughput(atLeast: Double?, aim: Double? = nil)
  /// A percentile of the time that a call takes: less is better.
  case latency(percentile: Double, atMost: Double?, aim: Double? = nil)

  var measure: String {
    switch self {
    case .throughput: "events/s"
    case .latency(let percentile, _, _): "p\(Int(percentile)) µs"
    }
  }

  func value(of sample: Sample) -> Double {
    switch self {
    case .throughput: sample.eventsPerSecond
    case .latency(let percentile, _, _): Double(sample.latency.valueAtPercentile(percentile)) / 1000
    }
  }

  /// What is asked, as a text; `nil` when the figure is only reported.
  var target: String? {
    let (sign, bound, aim) =
      switch self {
      case .throughput(let bound, let aim): ("≥", bound, aim)
      case .latency(_, let bound, let aim): ("≤", bound, aim)
      }
    return bound.map { "\(sign) \($0)" + (aim.map { " (aim \($0))" } ?? "") }
  }

  /// Whether the ratio is what is asked.
  func isMet(by ratio: Double) -> Bool? {
    switch self {
    case .throughput(let bound, _): bound.map { ratio >= $0 }
    case .latency(_, let bound, _): bound.map { ratio <= $0 }
    }
  }
}
