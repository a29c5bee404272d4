import Foundation

/// Reads what all workers wrote, in the order of time, and finds what must not be.
enum Oracle {
  struct Report {
    var problems: [String] = []
    var starts = 0
    /// Events that were handled more than once.
    var repeats = 0
    /// By group.
    var done: [String: Set<Int64>] = [:]
  }

  private struct Line {
    let isStart: Bool
    let time: UInt64
    let process: Int32
    let group: String
    let key: String
    let version: Int
    let position: Int64
    let attempt: Int
    let isDone: Bool

    init?(_ text: Substring) {
      let parts = text.split(separator: " ")
      guard parts.count >= 9, let time = UInt64(parts[1]), let process = Int32(parts[2]), let version = Int(parts[5]),
        let position = Int64(parts[6]), let attempt = Int(parts[7])
      else { return nil }
      isStart = parts[0] == "S"
      self.time = time
      self.process = process
      group = String(parts[3])
      key = String(parts[4])
      self.version = version
      self.position = position
      self.attempt = attempt
      isDone = parts.count > 9 && parts[9] == "done"
    }
  }

  private struct Key {
    var inFlight: Line?
    /// The last version that was handled or, after its last try, given up.
    var over = 0
  }

  /// - Parameter deaths: When processes were killed, or stopped for so long that they do not count.
  static func check(_ journal: URL, _ deaths: [Int32: UInt64]) throws -> Report {
    var report = Report()
    let text = try String(contentsOf: journal, encoding: .utf8)
    let lines = text.split(separator: "\n").compactMap { Line($0) }.sorted { $0.time < $1.time }
    var keys: [String: Key] = [:]
    for line in lines {
      let name = "\(line.group)/\(line.key)"
      // What one that was stopped says when it wakes up is nobody's concern.
      if let death = deaths[line.process], line.time > death { continue }
      if line.isStart {
        report.starts += 1
        if let other = keys[name]?.inFlight {
          let isDead = deaths[other.process].map { $0 <= line.time } ?? false
          if !isDead {
            report.problems.append("\(name): version \(line.version) started while \(other.version) was in flight")
          }
        }
        if line.version > (keys[name]?.over ?? 0) + 1 {
          report.problems.append("\(name): version \(line.version) started after \(keys[name]?.over ?? 0)")
        }
        keys[name, default: Key()].inFlight = line
      } else {
        keys[name, default: Key()].inFlight = nil
        // After the last try it is given up.
        guard line.isDone || line.attempt >= 4 else { continue }
        keys[name, default: Key()].over = max(keys[name]?.over ?? 0, line.version)
        guard line.isDone else { continue }
        if !report.done[line.group, default: []].insert(line.position).inserted { report.repeats += 1 }
      }
    }
    if lines.isEmpty { report.problems.append("nothing was written down") }
    return report
  }
}
