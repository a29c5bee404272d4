/// How text fills the columns of a terminal. Nearly right is enough: a wrong width shifts a line, no more.
package enum TextWidth {
  /// The columns that `text` takes.
  package static func of(_ text: String) -> Int {
    text.unicodeScalars.reduce(0) { $0 + of($1) }
  }

  static func of(_ scalar: Unicode.Scalar) -> Int {
    if scalar.value < 0x300 { return 1 }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark, .format: return 0
    default: break
    }
    switch scalar.value {
    case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60,
      0xFFE0...0xFFE6, 0x1F300...0x1FAFF, 0x20000...0x3FFFD:
      return 2
    default: return 1
    }
  }

  /// `text` in at most `width` columns; where something had to be cut, it ends with `…`.
  package static func truncated(_ text: String, to width: Int) -> String {
    guard of(text) > width else { return text }
    guard width > 0 else { return "" }
    var result = ""
    var used = 0
    for character in text {
      let needed = of(String(character))
      guard used + needed < width else { break }
      result.append(character)
      used += needed
    }
    return result + "…"
  }

  /// `text` with spaces before or behind it, `width` columns in all.
  package static func padded(_ text: String, to width: Int, alignedRight: Bool = false) -> String {
    let spaces = String(repeating: " ", count: max(0, width - of(text)))
    return alignedRight ? spaces + text : text + spaces
  }

  /// `text` on one line and harmless to a terminal: what came from data must not move the cursor or change
  /// colours.
  package static func printable(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\n", "\r", "\t": result.append(" ")
      case _ where isControl(scalar): result.append("\u{FFFD}")
      default: result.append(scalar)
      }
    }
    return String(result)
  }

  /// `text` that cannot move a terminal's cursor, or do more to it than change colours: for what is printed in any number
  /// of lines, some of which we have coloured ourselves.
  package static func harmless(_ text: String) -> String {
    // Line ends and tabs aside, everything that is not, and what is coloured, begins with one of these bytes.
    guard text.utf8.contains(where: { $0 < 0x20 && $0 != 0x0A && $0 != 0x09 || $0 == 0x7F || $0 == 0xC2 || $0 == 0xE2 })
    else { return text }
    var result = String.UnicodeScalarView()
    var rest = Substring(text).unicodeScalars
    while let scalar = rest.popFirst() {
      if scalar == "\u{1B}", let end = rest.dropFirst().firstIndex(where: { !("0"..."9").contains($0) && $0 != ";" }),
        rest.first == "[", rest[end] == "m"
      {
        result.append(scalar)
        result.append(contentsOf: rest[...end])
        rest = rest[rest.index(after: end)...]
      } else if isControl(scalar), scalar != "\n", scalar != "\t" {
        result.append("\u{FFFD}")
      } else {
        result.append(scalar)
      }
    }
    return String(result)
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
      // Marks that turn the direction of writing around.
      || (0x202A...0x202E).contains(scalar.value) || (0x2066...0x2069).contains(scalar.value)
  }
}
