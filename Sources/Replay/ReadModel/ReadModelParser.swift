internal import EventStore

/// Takes a read model's file apart: directives (comments of the form `-- key: value`), tables, statements.
struct ReadModelParser {
  private(set) var name: String?
  private(set) var version: Int?
  private(set) var categories: [String] = []
  private(set) var streamsAreIndependent = false
  private(set) var ignoredTypes: Set<String> = []
  private(set) var ignoresOthers = false
  private(set) var reads: [String] = []
  private(set) var errorPolicy = ErrorPolicy.stop
  private(set) var isInline = false
  private(set) var buildsIndexesFirst = false
  private(set) var setup: [ReadModel.SQL] = []
  /// Those of `setup` that constrain nothing.
  private(set) var plainIndexes: [ReadModel.SQL] = []
  private(set) var handlers: [ReadModel.Handler] = []

  private let file: String
  private let text: [UInt8]
  private let tokens: [SQLLexer.Token]

  private struct Section {
    let types: [String]
    let isEach: Bool
    let line: Int
    var statements: [ReadModel.SQL] = []
  }
  private var section: Section?

  init(_ text: String, file: String) throws(ReadModelError) {
    self.file = file
    self.text = Array(text.utf8)
    tokens = try SQLLexer.tokens(of: self.text, in: file)
  }

  mutating func parse() throws(ReadModelError) {
    var statement: [SQLLexer.Token] = []
    for token in tokens {
      switch token.kind {
      case .lineComment:
        guard let (key, value) = directive(token) else { continue }
        guard statement.isEmpty else {
          throw failure(token.line, "`-- \(key):` stands inside a statement: end that with a semicolon")
        }
        try take(key, value, token.line)
      case .blockComment: continue
      case .semicolon:
        try take(statement)
        statement = []
      default: statement.append(token)
      }
    }
    if let first = statement.first {
      throw failure(first.line, "the statement that begins here has no semicolon at its end")
    }
    try endSection()
  }

  private func failure(_ line: Int, _ problem: String) -> ReadModelError {
    ReadModelError(file: file, line: line, problem)
  }

  // MARK: Directives

  private static let keys = [
    "read model", "version", "categories", "streams", "reads", "mode", "indexes", "on error", "ignore", "on", "on each",
  ]

  /// What comments begin with, and is like a key without being meant for one.
  private static let prose: Set<String> = ["code", "made", "model", "modes", "more", "move", "node", "ready"]

  /// So many letters of a key may be wrong, and it is still recognised: of a short one, few.
  private static func slips(in key: String) -> Int { key.count < 4 ? 0 : key.count == 4 ? 1 : 2 }

  /// `-- key: value`, where the key is one of ours, or so like one that it must be meant.
  private func directive(_ token: SQLLexer.Token) -> (key: String, value: String)? {
    let comment = string(token.range).dropFirst(2)
    guard let colon = comment.firstIndex(of: ":") else { return nil }
    let key = comment[..<colon].split(whereSeparator: \.isWhitespace).joined(separator: " ")
    let folded = key.lowercased()
    guard !Self.prose.contains(folded), Self.keys.contains(where: { Self.distance(folded, $0) <= Self.slips(in: $0) })
    else { return nil }
    let value = comment[comment.index(after: colon)...]
    return (key, value.split(whereSeparator: \.isWhitespace).joined(separator: " "))
  }

  private mutating func take(_ key: String, _ value: String, _ line: Int) throws(ReadModelError) {
    guard Self.keys.contains(key) else {
      let folded = key.lowercased()
      let meant = Self.keys.min { Self.distance(folded, $0) < Self.distance(folded, $1) } ?? ""
      throw failure(line, "`-- \(key):` is no directive; is `-- \(meant):` meant?")
    }
    let list = value.split(separator: ",").map { $0.split(separator: " ").joined(separator: " ") }
    guard !list.isEmpty, list.allSatisfy({ !$0.isEmpty }) else { throw failure(line, "`-- \(key):` has no value") }
    guard key == "on" || key == "on each" || (section == nil && setup.isEmpty) || key == "ignore" else {
      throw failure(line, "`-- \(key):` belongs to the top of the file, before the first statement")
    }
    switch key {
    case "read model":
      let isValid = value.utf8.allSatisfy { byte in
        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || byte == UInt8(ascii: "_")
          || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
      }
      guard isValid, value.utf8.count <= 40, value.first?.isLetter == true else {
        throw failure(line, "a read model's name is 1 to 40 characters of a-z, 0-9 and _, starting with a letter")
      }
      name = value
    case "version":
      guard let number = Int(value), (1...Int(Int32.max)).contains(number) else {
        throw failure(line, "a version is a number from 1")
      }
      version = number
    case "categories": categories = list
    case "streams":
      guard ["independent", "ordered"].contains(value) else {
        throw failure(line, "streams are `independent` or `ordered`")
      }
      streamsAreIndependent = value == "independent"
    case "reads":
      for name in list {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty }) else {
          throw failure(line, "`-- reads:` names tables with their schema, such as public.customers; found \(name)")
        }
      }
      reads += list
    case "mode":
      guard ["async", "inline"].contains(value) else { throw failure(line, "a mode is `async` or `inline`") }
      isInline = value == "inline"
    case "indexes":
      guard ["first", "last"].contains(value) else {
        throw failure(line, "indexes are made `first`, before the events are applied, or `last`")
      }
      buildsIndexesFirst = value == "first"
    case "on error": errorPolicy = try policy(list, line)
    case "ignore":
      if list == ["others"] { ignoresOthers = true } else { ignoredTypes.formUnion(list) }
    default:
      try endSection()
      section = Section(types: list, isEach: key == "on each", line: line)
    }
  }

  /// `stop`, `skip`, `retry 3`, `retry 3, then skip`.
  private func policy(_ parts: [String], _ line: Int) throws(ReadModelError) -> ErrorPolicy {
    var end = ErrorPolicy.End.stop
    var retries = 0
    for (index, part) in parts.enumerated() {
      let words = part.split(separator: " ").map(String.init)
      if words.count == 2, words[0] == "retry", index == 0, let count = Int(words[1]), (1...1000).contains(count) {
        retries = count
      } else if let last = words.last, let known = ErrorPolicy.End(rawValue: last), index == parts.count - 1,
        words.count == 1 || (words.count == 2 && words[0] == "then" && index == 1)
      {
        end = known
      } else {
        throw failure(
          line, "`-- on error:` is `stop`, `skip`, or `retry N` (1 to 1000) with `, then stop` or `, then skip`")
      }
    }
    return ErrorPolicy(retries: retries, end: end)
  }

  private mutating func endSection() throws(ReadModelError) {
    guard let section else { return }
    guard !section.statements.isEmpty else {
      throw failure(section.line, "there is no statement for \(section.types.joined(separator: ", "))")
    }
    handlers.append(ReadModel.Handler(types: section.types, isEach: section.isEach, statements: section.statements))
  }

  /// How many letters must change (Levenshtein).
  static func distance(_ left: String, _ right: String, within most: Int = 2) -> Int {
    let (left, right) = (Array(left.utf8), Array(right.utf8))
    guard abs(left.count - right.count) <= most else { return .max }
    var row = Array(0...right.count)
    for (i, a) in left.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, b) in right.enumerated() {
        let cost = min(diagonal + (a == b ? 0 : 1), row[j] + 1, row[j + 1] + 1)
        diagonal = row[j + 1]
        row[j + 1] = cost
      }
    }
    return row[right.count]
  }

  // MARK: Statements

  private mutating func take(_ tokens: [SQLLexer.Token]) throws(ReadModelError) {
    guard let first = tokens.first, let last = tokens.last else { return }
    let words = tokens.prefix(3).map { $0.kind == .word ? string($0.range).uppercased() : "" }
    if section == nil {
      let isTable =
        (words[0] == "CREATE" && ["TABLE", "INDEX"].contains(words.dropFirst().first ?? ""))
        || words.prefix(3) == ["CREATE", "UNIQUE", "INDEX"] || words.prefix(2) == ["COMMENT", "ON"]
        || words.prefix(2) == ["ALTER", "TABLE"]
      guard isTable else {
        throw failure(
          first.line,
          "before the first `-- on:` only CREATE TABLE, CREATE INDEX, ALTER TABLE and COMMENT ON may stand, found \(words[0])"
        )
      }
      try checkSetup(tokens)
      let sql = ReadModel.SQL(text: string(first.range.lowerBound..<last.range.upperBound), line: first.line)
      setup.append(sql)
      if words.prefix(2) == ["CREATE", "INDEX"] { plainIndexes.append(sql) }
      return
    }
    guard ["INSERT", "UPDATE", "DELETE", "MERGE", "WITH"].contains(words[0]) else {
      throw failure(first.line, "an event's statement is an INSERT, UPDATE, DELETE or MERGE, found \(words[0])")
    }
    if let parameter = tokens.first(where: { $0.kind == .parameter }) {
      throw failure(parameter.line, "\(string(parameter.range)): a statement has no parameters, it reads from `events`")
    }
    guard tokens.contains(where: { $0.kind == .word && string($0.range).lowercased() == "events" }) else {
      throw failure(first.line, "the statement does not read from `events`")
    }
    // `events` becomes the first of the statement's common table expressions.
    let text: String
    if words[0] == "WITH" {
      let isRecursive = words.dropFirst().first == "RECURSIVE"
      let rest = tokens[isRecursive ? 1 : 0].range.upperBound..<last.range.upperBound
      text = "WITH \(isRecursive ? "RECURSIVE " : "")\(EventRelation.commonTableExpression),\(string(rest))"
    } else {
      text = "WITH \(EventRelation.commonTableExpression) \(string(first.range.lowerBound..<last.range.upperBound))"
    }
    section?.statements.append(ReadModel.SQL(text: text, line: first.line))
  }

  /// Whatever would read, or change, something else before it can be seen by its locks.
  private func checkSetup(_ tokens: [SQLLexer.Token]) throws(ReadModelError) {
    var depth = 0
    for token in tokens {
      let text = string(token.range)
      if text == "(" { depth += 1 }
      if text == ")" { depth -= 1 }
      if depth == 0, text == "." {
        throw ReadModelError(
          .foreignTable, file: file, line: token.line,
          "a name with a schema: a read model's tables are its own, and have names without one")
      }
      let word = token.kind == .word ? text.uppercased() : ""
      if word == "INHERITS" || word == "PARTITION" || (depth == 0 && word == "AS") {
        throw failure(token.line, "\(word) is not for a read model's tables: list their columns")
      }
    }
  }

  private func string(_ range: Range<Int>) -> String { String(decoding: text[range], as: UTF8.self) }
}
