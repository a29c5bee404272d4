package import EventStore

/// A read model as a `.sql` file: its tables, and for each type of event the statement that applies a set of them.
///
/// ```sql
/// -- read model: balance
/// -- version: 1
/// -- categories: account
/// -- streams: independent
///
/// CREATE TABLE balance (account text PRIMARY KEY, balance numeric NOT NULL);
///
/// -- on: account.deposited, account.withdrawn
/// INSERT INTO balance AS b (account, balance)
/// SELECT stream, sum(CASE type WHEN 'account.deposited' THEN 1 ELSE -1 END * (data->>'amount')::numeric)
///   FROM events
///  GROUP BY stream
///     ON CONFLICT (account) DO UPDATE SET balance = b.balance + excluded.balance;
/// ```
///
/// The format, with everything that may stand in it, is described in docs/read-models.md. The same file serves a replay
/// into temporary tables and a durable projection.
public struct ReadModel: Sendable {
  /// 1 to 40 characters of a-z, 0-9 and `_`, starting with a letter.
  public let name: String
  /// From 1; raised when the tables or the statements change.
  public let version: Int
  /// Only events of these; empty: of all.
  public let categories: [String]
  /// The rows that one stream's events make depend on no other stream's.
  public let streamsAreIndependent: Bool
  /// The path that messages name.
  public let file: String

  /// Tables of others that its statements may read, as `schema.table`.
  public let reads: [String]
  /// Of what it says about events that cannot be applied.
  public let errorPolicy: ErrorPolicy
  /// As a durable projection it is applied in the transactions of the appends, not after them.
  public let isInline: Bool
  /// The text that it was made from.
  public let source: String

  /// A statement, and the line of the file where it begins.
  package struct SQL: Sendable, Hashable {
    package let text: String
    package let line: Int
  }

  struct Handler: Sendable {
    let types: [String]
    /// One event at a time.
    let isEach: Bool
    let statements: [SQL]
  }

  /// The statements that make the tables and, in their order, the indexes.
  package let setup: [SQL]
  /// Those of ``setup`` that make indexes which can wait until the tables are full.
  package let lateIndexes: [SQL]
  let handlers: [Handler]
  /// The handler of each type.
  let handlerOfType: [String: Int]
  /// The handler of every type that has none of its own, by `-- on: others`.
  private let otherHandler: Int?
  private let ignoredTypes: Set<String>
  private let ignoresOthers: Bool

  /// The types that the model has a statement for.
  public var types: [String] { handlerOfType.keys.sorted() }

  /// Which events the model must be told of.
  package var filter: LogFilter { LogFilter(categories: categories, types: ignoresOthers ? types : []) }

  /// Which statements apply an event of this type; `nil`: none, as the file says.
  ///
  /// - Throws: ``ReadModelError`` with `unhandledType`.
  func handler(of type: String) throws(ReadModelError) -> Int? {
    if let handler = handlerOfType[type] { return handler }
    if let otherHandler, !ignoredTypes.contains(type) { return otherHandler }
    guard ignoresOthers || ignoredTypes.contains(type) else {
      throw ReadModelError(
        .unhandledType, file: file, line: nil,
        "there is no statement for event type \(type.debugDescription): add `-- on: \(type)` with one, or `-- ignore: \(type)`"
      )
    }
    return nil
  }

  // MARK: Parsing

  /// - Parameter file: For messages.
  /// - Throws: ``ReadModelError``.
  public init(_ text: String, file: String) throws(ReadModelError) {
    var parser = try ReadModelParser(text, file: file)
    try parser.parse()
    guard let name = parser.name else {
      throw ReadModelError(file: file, line: nil, "it has no `-- read model: NAME`")
    }
    guard let version = parser.version else {
      throw ReadModelError(file: file, line: nil, "it has no `-- version: N`")
    }
    guard !parser.setup.isEmpty else {
      throw ReadModelError(file: file, line: nil, "it creates no table before its first `-- on:`")
    }
    guard !parser.handlers.isEmpty else {
      throw ReadModelError(file: file, line: nil, "it has no `-- on: EVENT TYPE` with a statement")
    }
    guard !parser.isInline || parser.streamsAreIndependent else {
      throw ReadModelError(
        file: file, line: nil,
        "`-- mode: inline` needs `-- streams: independent`: appends to different streams commit in any order")
    }
    self.name = name
    self.version = version
    self.file = file
    categories = parser.categories
    streamsAreIndependent = parser.streamsAreIndependent
    reads = parser.reads
    errorPolicy = parser.errorPolicy
    isInline = parser.isInline
    source = text
    setup = parser.setup
    lateIndexes = parser.buildsIndexesFirst ? [] : parser.plainIndexes
    handlers = parser.handlers
    ignoredTypes = parser.ignoredTypes
    ignoresOthers = parser.ignoresOthers
    var handlerOfType: [String: Int] = [:]
    var otherHandler: Int?
    for (index, handler) in handlers.enumerated() {
      for type in handler.types {
        if type == "others" {
          guard otherHandler == nil, !ignoresOthers else {
            throw ReadModelError(
              file: file, line: handler.statements.first?.line, "what becomes of other types is said twice")
          }
          otherHandler = index
          continue
        }
        if handlerOfType.updateValue(index, forKey: type) != nil {
          throw ReadModelError(
            file: file, line: handler.statements.first?.line, "event type \(type) has two statements")
        }
      }
    }
    self.handlerOfType = handlerOfType
    self.otherHandler = otherHandler
  }
}
