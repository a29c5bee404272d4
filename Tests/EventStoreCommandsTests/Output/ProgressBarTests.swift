import Synchronization
import Testing

@testable import EventStoreCommands

@Suite("Progress bar")
struct ProgressBarTests {
  /// A clock that stands still until told, and what was written.
  private final class Stage: Sendable {
    private let now = Mutex(Duration.zero)
    private let lines = Mutex<[String]>([])

    var written: [String] { lines.withLock { $0 } }

    func wait(_ duration: Duration) { now.withLock { $0 += duration } }

    func bar(total: Int?, interactive: Bool, width: Int = 70) -> ProgressBar {
      ProgressBar(
        "import", total: total, unit: .count("events"),
        terminal: interactive ? Terminal(isInteractive: true, hasColors: true, width: width) : .plain,
        width: { width }, now: { self.now.withLock { $0 } },
        output: { text in self.lines.withLock { $0.append(text) } })
    }
  }

  @Test("on a terminal one line is drawn again, at most ten times a second")
  func interactive() {
    let stage = Stage()
    let bar = stage.bar(total: 1_000, interactive: true)
    for _ in 0..<500 {
      stage.wait(.milliseconds(2))
      bar.advance()
    }
    #expect((9...11).contains(stage.written.count))
    #expect(stage.written.allSatisfy { $0.hasPrefix("\r") && !$0.contains("\n") })
    #expect(stage.written.allSatisfy { TextWidth.of($0) <= 71 })
    let last = stage.written.last ?? ""
    #expect(last.contains("of 1,000 events, 500/s, 1.1 s left"))
    #expect(last.contains("█") && last.contains("░") && last.contains("%"))
    bar.finish()
    bar.finish()
    bar.advance()
    #expect(stage.written.last?.hasSuffix("\rimport: 500 of 1,000 events, 1.0 s, 500/s\n") == true)
    #expect(stage.written.filter { $0.contains("\n") }.count == 1)
  }

  @Test("elsewhere a plain line every five seconds and at the end")
  func plain() {
    let stage = Stage()
    let bar = stage.bar(total: 200, interactive: false)
    for _ in 0..<120 {
      stage.wait(.milliseconds(100))
      bar.advance()
    }
    bar.finish()
    #expect(
      stage.written == [
        "import: 25 %, 50 of 200 events, 10/s, 15 s left\n",
        "import: 50 %, 100 of 200 events, 10/s, 10 s left\n",
        "import: 120 of 200 events, 12 s, 10/s\n",
      ])
  }

  @Test("an unknown total has no bar")
  func unknownTotal() {
    let stage = Stage()
    let bar = stage.bar(total: nil, interactive: true)
    stage.wait(.seconds(1))
    bar.update(completed: 1_500, detail: "2 skipped")
    #expect(stage.written == ["\rimport  1,500 events, 1,500/s, 2 skipped"])
    bar.print("line 3 is bad")
    #expect(stage.written.contains { $0.hasSuffix("\rline 3 is bad\n") })
  }

  @Test("odd numbers draw nothing odd", arguments: [-5, 0, 5], [0, 5, 20, 500])
  func oddNumbers(total: Int, width: Int) {
    let stage = Stage()
    let bar = stage.bar(total: total, interactive: true, width: width)
    for completed in [0, 7, 3, .max] {
      stage.wait(.seconds(1))
      bar.update(completed: completed)
    }
    bar.finish()
    #expect(stage.written.count == 5)
  }
}
