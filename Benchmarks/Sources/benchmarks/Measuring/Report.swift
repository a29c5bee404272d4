import FoundationEssentials

/// Figures as a table for people, or as JSON lines, each as soon as it is there.
struct Report {
  let isJSON: Bool

  private static let widths = [14, 9, 12, 12, 7, 15, 18]

  func begin() {
    guard !isJSON else { return }
    line(["SCENARIO", "MEASURE", "OURS", "YARDSTICK", "RATIO", "QUARTILES", "TARGET", ""])
  }

  func add(_ figure: Figure) throws {
    if isJSON {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      Output.line(String(decoding: try encoder.encode(figure), as: UTF8.self))
      return
    }
    var quartiles = ""
    if let lower = figure.lowerQuartile, let upper = figure.upperQuartile {
      quartiles = "\(Self.decimals(lower, 2)) – \(Self.decimals(upper, 2))"
    }
    line([
      figure.scenario, figure.measure, Self.quantity(figure.ours), figure.yardstick.map(Self.quantity) ?? "",
      figure.ratio.map { Self.decimals($0, 2) } ?? "", quartiles, figure.target ?? "",
      figure.isMet.map { $0 ? "met" : "MISSED" } ?? "",
    ])
  }

  private func line(_ cells: [String]) {
    var text = ""
    for (index, cell) in cells.enumerated() {
      guard index < Self.widths.count else {
        text += cell
        continue
      }
      let padding = String(repeating: " ", count: max(0, Self.widths[index] - cell.count))
      text += (2...5).contains(index) ? padding + cell + "  " : cell + padding + "  "
    }
    while text.hasSuffix(" ") { text.removeLast() }
    Output.line(text)
  }

  /// With so many digits after the point.
  static func decimals(_ value: Double, _ digits: Int) -> String {
    let scale = digits == 0 ? 1 : (0..<digits).reduce(1) { scale, _ in scale * 10 }
    let scaled = Int((value * Double(scale)).rounded())
    guard digits > 0 else { return "\(scaled)" }
    let fraction = "\(scaled % scale)"
    return "\(scaled / scale)." + String(repeating: "0", count: digits - fraction.count) + fraction
  }

  /// Whole above a hundred, with groups of three digits.
  private static func quantity(_ value: Double) -> String {
    guard value >= 100 else { return decimals(value, 1) }
    var groups: [String] = []
    var rest = Int(value.rounded())
    while rest >= 1000 {
      let group = "\(rest % 1000)"
      groups.insert(String(repeating: "0", count: 3 - group.count) + group, at: 0)
      rest /= 1000
    }
    return ([String(rest)] + groups).joined(separator: ",")
  }
}
