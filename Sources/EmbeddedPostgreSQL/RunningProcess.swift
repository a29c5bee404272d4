import FoundationEssentials
import SystemPackage

/// A process that is alive, as `/proc` shows it.
struct RunningProcess {
  let pid: Int32

  /// `nil` when there is no such process, or only what is left of one: where nobody collects orphans (a
  /// container without an init) an ended server stays as a zombie, which `kill(pid, 0)` takes for alive.
  init?(pid: Int32) {
    guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8) else { return nil }
    // `pid (name) state …`, and the name may hold anything, parentheses too.
    guard let end = stat.lastIndex(of: ")") else { return nil }
    let state = stat[stat.index(after: end)...].first { $0 != " " }
    guard let state, state != "Z", state != "X" else { return nil }
    self.pid = pid
  }

  /// A server's is that of its data. `nil` where this process may not look.
  var workingDirectory: String? { try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/cwd") }

  /// The words of its command line.
  var arguments: [String] {
    guard let bytes = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") else { return [] }
    return bytes.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
  }
}
