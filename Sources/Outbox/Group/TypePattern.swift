/// Event types by name, with `*` for any characters.
enum TypePattern {
  static func matches(_ type: String, _ pattern: String) -> Bool { matches(type[...], pattern[...]) }

  private static func matches(_ text: Substring, _ pattern: Substring) -> Bool {
    guard let star = pattern.firstIndex(of: "*") else { return text == pattern }
    let (head, tail) = (pattern[..<star], pattern[pattern.index(after: star)...])
    guard text.hasPrefix(head) else { return false }
    var rest = text.dropFirst(head.count)
    while true {
      if matches(rest, tail) { return true }
      if rest.isEmpty { return false }
      rest = rest.dropFirst()
    }
  }
}
