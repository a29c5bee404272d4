#if canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// What is at the other end of an output: a person's terminal, or a file or pipe.
package struct Terminal: Hashable, Sendable {
  /// A person is watching: lines may be redrawn, and cut to the width.
  package var isInteractive: Bool
  /// Colours are wanted.
  package var hasColors: Bool
  /// In columns of text; nil if it has none, as a file or pipe.
  package var width: Int?

  package init(isInteractive: Bool, hasColors: Bool, width: Int?) {
    self.isInteractive = isInteractive
    self.hasColors = hasColors
    self.width = width
  }

  /// Asks the system about `descriptor`.
  ///
  /// - Parameters:
  ///   - noColor: the variable `NO_COLOR`: any text but the empty one turns colours off
  ///     (https://no-color.org).
  ///   - term: the variable `TERM`: `dumb` can neither show colours nor redraw a line.
  package init(descriptor: Int32, noColor: String?, term: String?) {
    let isTerminal = isatty(descriptor) == 1
    isInteractive = isTerminal && term != "dumb"
    hasColors = isInteractive && (noColor ?? "").isEmpty
    width = isTerminal ? Terminal.width(of: descriptor) ?? 80 : nil
  }

  /// A file or pipe.
  package static let plain = Terminal(isInteractive: false, hasColors: false, width: nil)

  /// How many columns the terminal shows now; nil if `descriptor` is no terminal or does not know.
  package static func width(of descriptor: Int32) -> Int? {
    var size = winsize()
    guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
    return Int(size.ws_col)
  }

  package enum Style: String, Hashable, Sendable {
    case bold = "1", dim = "2", red = "31", green = "32", yellow = "33", cyan = "36"
  }

  /// `text` in `style`, or as it is where there are no colours.
  package func styled(_ text: String, _ style: Style) -> String {
    hasColors ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
  }
}
