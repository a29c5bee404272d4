import Testing

@testable import EventStoreCommands

@Suite("Table and terminal")
struct TableTests {
  private func table() -> Table {
    var table = Table([.init("stream"), .init("events", .right), .init("note")])
    table.append(["account-1", "7", "a note that is rather long"])
    table.append(["account-22", "1,234"])
    return table
  }

  @Test("in a pipe nothing is cut or coloured")
  func plain() {
    #expect(
      table().text(for: .plain) == """
        stream      events  note
        account-1        7  a note that is rather long
        account-22   1,234

        """)
  }

  @Test("a terminal's width is kept by cutting text, never numbers")
  func truncated() {
    let terminal = Terminal(isInteractive: true, hasColors: false, width: 36)
    #expect(
      table().text(for: terminal) == """
        stream      events  note
        account-1        7  a note that is …
        account-22   1,234

        """)
    let narrow = Terminal(isInteractive: true, hasColors: true, width: 10)
    let text = table().text(for: narrow)
    #expect(text.hasPrefix("\u{1B}[1mstream"))
    #expect(text.contains("1,234"))
  }

  @Test("data cannot command the terminal")
  func harmless() {
    #expect(TextWidth.printable("a\u{1B}[31mb\nc\u{202E}") == "a\u{FFFD}[31mb c\u{FFFD}")
    #expect(TextWidth.printable("é 漢") == "é 漢")
  }

  @Test("what is printed can change colours, and do nothing else to a terminal")
  func coloured() {
    let red = Terminal(isInteractive: true, hasColors: true, width: 80).styled("red", .red)
    #expect(TextWidth.harmless("a\n\tb \(red) é 日本") == "a\n\tb \(red) é 日本")
    for command in [
      "\u{1B}c", "\u{1B}[2J", "\u{1B}]0;x\u{7}", "\u{9B}2J", "\r", "\u{202E}", "\u{1B}[", "\u{1B}[3", "\u{1B}",
    ] {
      let text = TextWidth.harmless("a\(command)m1")
      #expect(
        !text.unicodeScalars.contains { ["\u{1B}", "\u{9B}", "\u{7}", "\r", "\u{202E}"].contains($0) }
          || text == "a\u{1B}[3m1" || text == "a\u{1B}[m1", "\(text.debugDescription)")
    }
    #expect(ShellWord.quoted("a'$(id)'-1") == #"'a'\''$(id)'\''-1'"#)
  }

  @Test("widths")
  func widths() {
    #expect(TextWidth.of("abc") == 3)
    #expect(TextWidth.of("漢字") == 4)
    #expect(TextWidth.of("e\u{301}") == 1)
    #expect(TextWidth.truncated("漢字漢字", to: 5) == "漢字…")
    #expect(TextWidth.truncated("abc", to: 3) == "abc")
    #expect(TextWidth.truncated("abcd", to: 3) == "ab…")
  }

  @Test("a pipe is no terminal")
  func pipe() {
    let terminal = Terminal(descriptor: -1, noColor: nil, term: "xterm")
    #expect(terminal == .plain)
    #expect(terminal.styled("x", .red) == "x")
  }

  @Test("quantities as people read them")
  func quantities() {
    #expect(
      [0, 999, 1_000, 1_234_567, -1_000].map(Quantity.count) == ["0", "999", "1,000", "1,234,567", "-1,000"])
    #expect([0, 1, 2_000].map { Quantity.count($0, "event") } == ["0 events", "1 event", "2,000 events"])
    #expect(
      [0, 1023, 1024, 1536, 1_048_575, 1 << 30].map(Quantity.bytes) == [
        "0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 GiB",
      ])
    let durations: [Duration] = [
      .milliseconds(440), .seconds(12), .seconds(200), .seconds(7_500), .seconds(90_000),
    ]
    #expect(durations.map(Quantity.duration) == ["0.4 s", "12 s", "3 min 20 s", "2 h 05 min", "1 d 01 h"])
  }
}
