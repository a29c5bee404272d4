import Testing

@testable import Replay

@Suite("Read model files")
struct ReadModelFileTests {
  @Test("what a file says")
  func parsed() throws {
    let model = try ReadModel(
      """
      /* a comment; with a semicolon */
      -- read model:  order_totals
      -- version: 3
      -- categories: order, return
      -- streams: independent
      -- Prose may stand anywhere: it is no directive.
      CREATE TABLE totals (id text PRIMARY KEY, note text DEFAULT 'a;b', "odd;name" int);
      CREATE UNIQUE INDEX ON totals (note);

      -- on: order.placed,  order paid
      INSERT INTO totals SELECT stream, $$;$$, 1 FROM events;
      DELETE FROM totals WHERE id IN (SELECT stream FROM events);  -- two statements
      -- on each: order.closed
      WITH x AS (SELECT * FROM events) UPDATE totals SET note = E'it\\'s;' FROM x WHERE id = x.stream;
      -- on: order.nested
      WITH RECURSIVE r AS (SELECT 1 AS n) DELETE FROM totals USING events WHERE id = stream;
      -- ignore: order.viewed
      """, file: "f.sql")
    #expect(model.name == "order_totals" && model.version == 3 && model.categories == ["order", "return"])
    #expect(model.streamsAreIndependent && model.setup.count == 2 && model.handlers.count == 3)
    #expect(model.types == ["order paid", "order.closed", "order.nested", "order.placed"])
    #expect(model.handlers[0].statements.map(\.line) == [11, 12])
    #expect(model.handlers[1].isEach && !model.handlers[0].isEach)
    #expect(model.handlers[1].statements[0].text.hasPrefix("WITH events AS ("))
    #expect(model.handlers[1].statements[0].text.contains("), x AS (SELECT"))
    #expect(model.handlers[2].statements[0].text.hasPrefix("WITH RECURSIVE events AS ("))
    #expect(try model.handler(of: "order.viewed") == nil)
    #expect(throws: ReadModelError.self) { try model.handler(of: "order.unknown") }
  }

  @Test("`ignore: others` passes over every other type")
  func ignoresOthers() throws {
    let model = try ReadModel(Samples.balance(more: "-- ignore: others"), file: "f.sql")
    let handlers = try [model.handler(of: "anything"), model.handler(of: "deposited")]
    #expect(handlers == [nil, 0])
  }

  @Test("a directive whose words a tab divides is one, and so is one behind a lone carriage return")
  func whitespace() throws {
    let model = try ReadModel(
      "\(Samples.head)\n--\ton error:\tskip\n\(Samples.table)\n--\ton: deposited\n"
        + "DELETE FROM balance USING events; -- of x\r-- on\teach: closed\nDELETE FROM balance USING events;",
      file: "f.sql")
    #expect(model.errorPolicy == .skip && model.types == ["closed", "deposited"])
    #expect(model.handlers.map(\.isEach) == [false, true])
  }

  @Test("prose that begins with a word like a key is prose", arguments: ["TODO", "Note", "code", "more", "Model"])
  func prose(word: String) throws {
    let model = try ReadModel("\(Samples.balance())\n-- \(word): whatever", file: "f.sql")
    #expect(!model.isInline)
  }

  @Test("a string with escapes has them to its end, also on the next line")
  func continuedString() throws {
    let statement = "DELETE FROM balance USING events WHERE stream = E'a' -- x\n  'b\\'; c' || 'd';"
    let model = try ReadModel("\(Samples.head)\n\(Samples.table)\n-- on: x\n\(statement)", file: "f.sql")
    #expect(model.handlers[0].statements.count == 1)
    #expect(model.handlers[0].statements[0].text.hasSuffix("'b\\'; c' || 'd'"))
  }

  struct Fault: Sendable, CustomTestStringConvertible {
    let text: String
    let line: Int?
    let says: String
    var testDescription: String { says }
  }

  @Test(
    "what is wrong with a file is said with its line",
    arguments: [
      Fault(text: "", line: nil, says: "no `-- read model: NAME`"),
      Fault(text: "-- read model: a", line: nil, says: "no `-- version: N`"),
      Fault(text: "-- read model: a\n-- version: 0", line: 2, says: "a number from 1"),
      Fault(text: "-- read model: A-b", line: 1, says: "characters of a-z"),
      Fault(text: "-- read model: a\n-- verison: 1", line: 2, says: "is `-- version:` meant?"),
      Fault(text: "-- read model: a\n-- version: 1\n-- mod: inline", line: 3, says: "is `-- mode:` meant?"),
      Fault(text: "\(Samples.head)\n\(Samples.table)\n-- On: x", line: 5, says: "is `-- on:` meant?"),
      Fault(text: "-- read model: a\n-- version: 1\n-- streams: apart", line: 3, says: "`independent` or `ordered`"),
      Fault(text: "-- read model: a\n-- version: 1", line: nil, says: "creates no table"),
      Fault(text: "\(Samples.head)\n\(Samples.table)", line: nil, says: "no `-- on: EVENT TYPE`"),
      Fault(text: "\(Samples.head)\nDROP TABLE x;", line: 4, says: "found DROP"),
      Fault(text: "\(Samples.head)\nCREATE FUNCTION f() RETURNS int;", line: 4, says: "found CREATE"),
      Fault(text: "\(Samples.head)\nCREATE TABLE a (b int)", line: 4, says: "no semicolon at its end"),
      Fault(text: "\(Samples.head)\nCREATE TABLE a (b text DEFAULT 'x);", line: 4, says: "a string begins here"),
      Fault(text: "\(Samples.head)\n/* never ended", line: 4, says: "a comment begins here"),
      Fault(text: "\(Samples.head)\n\(Samples.table)\n-- on: x", line: 5, says: "no statement for x"),
      Fault(text: "\(Samples.head)\n\(Samples.table)\n-- on:", line: 5, says: "has no value"),
      Fault(
        text: "\(Samples.head)\n\(Samples.table)\n-- on: x\nSELECT * FROM events;", line: 6, says: "found SELECT"),
      Fault(text: "\(Samples.head)\n\(Samples.table)\n-- on: x\nCOMMIT;", line: 6, says: "found COMMIT"),
      Fault(
        text: "\(Samples.head)\n\(Samples.table)\n-- on: x\nDELETE FROM balance;", line: 6,
        says: "does not read from `events`"),
      Fault(
        text: "\(Samples.head)\n\(Samples.table)\n-- on: x\nDELETE FROM balance USING events WHERE $1 = 1;", line: 6,
        says: "has no parameters"),
      Fault(
        text: "\(Samples.head)\n\(Samples.table)\n-- on: x\nDELETE FROM balance USING events\n-- on: y\n;", line: 7,
        says: "stands inside a statement"),
      Fault(
        text: "\(Samples.balance())\n-- version: 2", line: nil, says: "belongs to the top of the file"),
      Fault(text: Samples.balance(more: Samples.handler), line: nil, says: "has two statements"),
    ])
  func faults(fault: Fault) {
    let error = #expect(throws: ReadModelError.self) { try ReadModel(fault.text, file: "f.sql") }
    #expect(error?.problem.contains(fault.says) == true, "\(String(describing: error))")
    if let line = fault.line { #expect(error?.line == line) }
    #expect(error?.description.hasPrefix("f.sql") == true)
  }
}
