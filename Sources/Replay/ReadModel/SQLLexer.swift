/// The tokens of PostgreSQL's SQL, as far as a read model's file must be understood: where statements end, which words
/// they have, and which of them are comments. (PostgreSQL manual, "Lexical Structure".)
struct SQLLexer {
  enum Kind: Hashable {
    /// A key word or an unquoted name.
    case word
    case quotedName
    case string
    case number
    /// `$1`
    case parameter
    case lineComment
    case blockComment
    case semicolon
    case symbol
  }

  struct Token: Hashable {
    let kind: Kind
    /// Offsets in the text, in bytes.
    let range: Range<Int>
    /// From 1.
    let line: Int
  }

  private let text: [UInt8]
  private var index = 0
  private var line = 1

  init(_ text: [UInt8]) { self.text = text }

  /// - Throws: ``ReadModelError`` for a string, a comment or a quoted name without an end.
  static func tokens(of text: [UInt8], in file: String) throws(ReadModelError) -> [Token] {
    var lexer = SQLLexer(text)
    var tokens: [Token] = []
    while let token = try lexer.next(file) { tokens.append(token) }
    return tokens
  }

  private mutating func next(_ file: String) throws(ReadModelError) -> Token? {
    while let byte = peek(), Self.isSpace(byte) { advance() }
    guard let byte = peek() else { return nil }
    let (start, startLine) = (index, line)
    let kind: Kind
    switch byte {
    case UInt8(ascii: "-") where peek(1) == UInt8(ascii: "-"):
      skipLine()
      kind = .lineComment
    case UInt8(ascii: "/") where peek(1) == UInt8(ascii: "*"):
      guard skipBlockComment() else { throw unended("comment", file, startLine) }
      kind = .blockComment
    case UInt8(ascii: "'"):
      guard skipQuoted(UInt8(ascii: "'"), escapes: false) else { throw unended("string", file, startLine) }
      kind = .string
    case UInt8(ascii: "\""):
      guard skipQuoted(UInt8(ascii: "\""), escapes: false) else { throw unended("quoted name", file, startLine) }
      kind = .quotedName
    case UInt8(ascii: "$"):
      if let next = peek(1), Self.isDigit(next) {
        advance()
        while let byte = peek(), Self.isDigit(byte) { advance() }
        kind = .parameter
      } else if let tag = dollarTag() {
        guard skipDollarQuoted(tag) else { throw unended("dollar-quoted string", file, startLine) }
        kind = .string
      } else {
        advance()
        kind = .symbol
      }
    case UInt8(ascii: ";"):
      advance()
      kind = .semicolon
    case _ where Self.isDigit(byte):
      while let byte = peek(), Self.isNamePart(byte) || byte == UInt8(ascii: ".") { advance() }
      kind = .number
    case _ where Self.isNameStart(byte):
      while let byte = peek(), Self.isNamePart(byte) { advance() }
      // E'…' has escapes; B'…', X'…', N'…' and U&'…' end as plain strings do.
      if peek() == UInt8(ascii: "'"), index - start == 1 {
        let escapes = byte | 0x20 == UInt8(ascii: "e")
        repeat {
          guard skipQuoted(UInt8(ascii: "'"), escapes: escapes) else { throw unended("string", file, startLine) }
        } while escapes && skipToContinuation()
        kind = .string
      } else {
        kind = .word
      }
    default:
      advance()
      kind = .symbol
    }
    return Token(kind: kind, range: start..<index, line: startLine)
  }

  private func unended(_ what: String, _ file: String, _ line: Int) -> ReadModelError {
    ReadModelError(file: file, line: line, "a \(what) begins here and has no end")
  }

  private func peek(_ offset: Int = 0) -> UInt8? { index + offset < text.count ? text[index + offset] : nil }

  private mutating func advance() {
    if text[index] == UInt8(ascii: "\n") { line += 1 }
    index += 1
  }

  private mutating func skipLine() {
    while let byte = peek(), !Self.isLineEnd(byte) { advance() }
  }

  /// A string goes on where another one begins on a later line, with nothing but comments between them; it has escapes as
  /// its beginning has.
  private mutating func skipToContinuation() -> Bool {
    let before = (index, line)
    var isLater = false
    while let byte = peek() {
      if Self.isSpace(byte) {
        if Self.isLineEnd(byte) { isLater = true }
        advance()
      } else if byte == UInt8(ascii: "-"), peek(1) == UInt8(ascii: "-") {
        skipLine()
      } else {
        break
      }
    }
    if isLater, peek() == UInt8(ascii: "'") { return true }
    (index, line) = before
    return false
  }

  /// Comments can be nested.
  private mutating func skipBlockComment() -> Bool {
    var depth = 0
    while let byte = peek() {
      if byte == UInt8(ascii: "/"), peek(1) == UInt8(ascii: "*") {
        depth += 1
        advance()
      } else if byte == UInt8(ascii: "*"), peek(1) == UInt8(ascii: "/") {
        depth -= 1
        advance()
      }
      advance()
      if depth == 0 { return true }
    }
    return false
  }

  private mutating func skipQuoted(_ quote: UInt8, escapes: Bool) -> Bool {
    advance()
    while let byte = peek() {
      advance()
      if escapes, byte == UInt8(ascii: "\\"), peek() != nil {
        advance()
      } else if byte == quote {
        guard peek() == quote else { return true }
        advance()
      }
    }
    return false
  }

  /// `$$` or `$tag$` at this place.
  private func dollarTag() -> [UInt8]? {
    var end = index + 1
    while end < text.count, text[end] != UInt8(ascii: "$") {
      guard end == index + 1 ? Self.isNameStart(text[end]) : Self.isNamePart(text[end]) else { return nil }
      end += 1
    }
    return end < text.count ? Array(text[index...end]) : nil
  }

  private mutating func skipDollarQuoted(_ tag: [UInt8]) -> Bool {
    for _ in tag { advance() }
    while index + tag.count <= text.count {
      if text[index..<index + tag.count].elementsEqual(tag) {
        for _ in tag { advance() }
        return true
      }
      advance()
    }
    return false
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
  private static func isLineEnd(_ byte: UInt8) -> Bool { byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") }
  private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
  private static func isNameStart(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20) || byte == UInt8(ascii: "_") || byte >= 0x80
  }
  private static func isNamePart(_ byte: UInt8) -> Bool {
    isNameStart(byte) || isDigit(byte) || byte == UInt8(ascii: "$")
  }
}
