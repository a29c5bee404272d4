/// Rows under a heading, aligned for people.
///
/// On a terminal, wide columns are cut with `…` to fit its width; in a file or pipe nothing is cut or
/// coloured.
package struct Table: Sendable {
  package enum Alignment: Hashable, Sendable { case left, right }

  package struct Column: Hashable, Sendable {
    package let title: String
    package let alignment: Alignment

    /// - Parameter alignment: `.right` for numbers; they are never cut.
    package init(_ title: String, _ alignment: Alignment = .left) {
      self.title = title
      self.alignment = alignment
    }
  }

  /// Columns of text are cut to no less than this.
  private static let smallestWidth = 8
  private static let gap = "  "

  private let columns: [Column]
  private var rows: [[String]] = []

  package init(_ columns: [Column]) {
    self.columns = columns.map { Column(TextWidth.printable($0.title), $0.alignment) }
  }

  package var isEmpty: Bool { rows.isEmpty }

  /// Adds a row: missing cells stay empty, cells beyond the columns are a programmer error and trap.
  package mutating func append(_ cells: [String]) {
    precondition(cells.count <= columns.count, "a row has at most as many cells as the table has columns")
    rows.append(cells.map(TextWidth.printable) + Array(repeating: "", count: columns.count - cells.count))
  }

  /// The table, each line with a line end.
  package func text(for terminal: Terminal) -> String {
    var widths = columns.indices.map { index in
      rows.reduce(TextWidth.of(columns[index].title)) { max($0, TextWidth.of($1[index])) }
    }
    if terminal.isInteractive, let width = terminal.width { shrink(&widths, to: width) }
    var result = ""
    result += terminal.styled(line(columns.map(\.title), widths), .bold) + "\n"
    for row in rows { result += line(row, widths) + "\n" }
    return result
  }

  private func line(_ cells: [String], _ widths: [Int]) -> String {
    var result = ""
    for (index, cell) in cells.enumerated() {
      if index > 0 { result += Self.gap }
      let text = TextWidth.truncated(cell, to: widths[index])
      result += TextWidth.padded(text, to: widths[index], alignedRight: columns[index].alignment == .right)
    }
    while result.last == " " { result.removeLast() }
    return result
  }

  /// Takes columns away from the widest text until the table fits or nothing more can be cut.
  private func shrink(_ widths: inout [Int], to width: Int) {
    let gaps = max(0, widths.count - 1) * Self.gap.count
    var excess = widths.reduce(gaps, +) - width
    let texts = columns.indices.filter { columns[$0].alignment == .left }
    while excess > 0, let widest = texts.max(by: { widths[$0] < widths[$1] }),
      widths[widest] > Self.smallestWidth
    {
      widths[widest] -= 1
      excess -= 1
    }
  }
}
