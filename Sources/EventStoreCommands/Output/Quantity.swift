/// Numbers as people read them.
package enum Quantity {
  /// `1234567` as `1,234,567`.
  package static func count(_ value: Int) -> String {
    let digits = Array(String(value.magnitude).utf8)
    var result: [UInt8] = value < 0 ? [UInt8(ascii: "-")] : []
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0 { result.append(UInt8(ascii: ",")) }
      result.append(digit)
    }
    return String(decoding: result, as: UTF8.self)
  }

  /// `1` as `1 event`, `1234` as `1,234 events`.
  ///
  /// - Parameter noun: What is counted, in the singular; its plural ends in an s.
  package static func count(_ value: Int, _ noun: String) -> String {
    "\(count(value)) \(noun)\(value == 1 ? "" : "s")"
  }

  /// `1536` as `1.5 KiB`.
  package static func bytes(_ value: Int) -> String {
    guard value.magnitude >= 1024 else { return "\(value) B" }
    var scaled = Double(value)
    var unit = ""
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] {
      scaled /= 1024
      unit = next
      // What would be rounded up to 1024.0 goes to the next unit.
      if abs(scaled) < 1023.95 { break }
    }
    return "\(decimal(scaled)) \(unit)"
  }

  /// A time span, to the second, or to a tenth of one if it is short: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05
  /// min`.
  package static func duration(_ value: Duration) -> String {
    let exact = Double(value.components.seconds) + Double(value.components.attoseconds) / 1e18
    if exact < 9.95 { return "\(decimal(max(0, exact))) s" }
    // Larger than anything that will be waited for.
    let seconds = Int(min(exact.rounded(), 1e12))
    if seconds < 60 { return "\(seconds) s" }
    if seconds < 3_600 { return "\(seconds / 60) min \(twoDigits(seconds % 60)) s" }
    if seconds < 86_400 { return "\(seconds / 3_600) h \(twoDigits(seconds / 60 % 60)) min" }
    return "\(seconds / 86_400) d \(twoDigits(seconds / 3_600 % 24)) h"
  }

  private static func decimal(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10).\(abs(tenths) % 10)"
  }

  private static func twoDigits(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
}
