extension StandardOutput {
  /// A line with text from data in it: what is in that must not move a terminal's cursor, or change its colours.
  func printable(_ text: String, _ style: Terminal.Style? = nil) {
    let text = TextWidth.printable(text)
    line(style.map { terminal.styled(text, $0) } ?? text)
  }
}
