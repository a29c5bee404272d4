import EventStore
import Testing

@testable import EventStoreCommands

@Suite("Row template")
struct RowTemplateTests {
  private func filled(_ template: String, csv: String) throws -> [String] {
    var reader = try CSVReader(input: .pieces(of: Array(csv.utf8)))
    let template = try RowTemplate(template, columns: reader.columns)
    var result: [String] = []
    while try reader.advance() {
      var bytes = Array(">".utf8)
      try template.append(reader, to: &bytes)
      result.append(String(decoding: bytes, as: UTF8.self))
    }
    return result
  }

  private func filled(_ template: String, json: String) throws -> String {
    let template = try RowTemplate(template)
    let object = Array(json.utf8)
    let members = try JSONText.topLevelMembers(of: object)
    var bytes: [UInt8] = []
    try object.withUnsafeBytes { try template.append(members, of: $0, to: &bytes) }
    return String(decoding: bytes, as: UTF8.self)
  }

  @Test("columns are filled in, doubled braces stand for one")
  func csv() throws {
    let csv = "account_id,kind\n7,A\n\"x\"\"y\",é\n"
    #expect(try filled("account-{account_id}", csv: csv) == [">account-7", ">account-x\"y"])
    #expect(try filled("{kind}{kind}{{{account_id}}}", csv: csv) == [">AA{7}", ">éé{x\"y}"])
    #expect(try filled("plain", csv: csv) == [">plain", ">plain"])
    #expect(try RowTemplate("{a}-{b}-{a}").names == ["a", "b"])
  }

  @Test("JSON members: strings decoded, numbers and booleans as they stand")
  func json() throws {
    let json = #"{"id": "a\u0041\n", "n": 1000.00, "b": true, "o": {}, "l": [], "x": null, "e": ""}"#
    #expect(try filled("s-{id}-{n}-{b}", json: json) == "s-aA\n-1000.00-true")
    for (name, found) in [("o", "an object"), ("l", "an array"), ("x", "null")] {
      #expect(throws: RowTemplateError.notAScalar(name, found: found)) {
        try filled("x{n}{\(name)}", json: json)
      }
    }
    #expect(throws: RowTemplateError.emptyValue("e")) { try filled("{e}", json: json) }
    #expect(throws: RowTemplateError.missingMember("idd", nearest: "id")) { try filled("{idd}", json: json) }
  }

  @Test("an error leaves the output as it was")
  func rollback() throws {
    var reader = try CSVReader(input: .pieces(of: Array("a,b\n1,\n".utf8)))
    let template = try RowTemplate("x{a}{b}", columns: reader.columns)
    #expect(try reader.advance())
    var bytes = Array("before".utf8)
    var caught: RowTemplateError?
    do { try template.append(reader, to: &bytes) } catch { caught = error }
    #expect(caught == .emptyValue("b"))
    #expect(bytes == Array("before".utf8))
  }

  @Test(
    "malformed templates",
    arguments: [
      ("", .empty), ("a{b", .unclosedBrace(offset: 1)), ("a}b", .unopenedBrace(offset: 1)),
      ("a{}", .emptyName(offset: 1)), ("{a{b}}", .unclosedBrace(offset: 0)), ("{", .unclosedBrace(offset: 0)),
      ("{{}", .unopenedBrace(offset: 2)),
    ] as [(String, RowTemplateError)])
  func malformed(template: String, error: RowTemplateError) {
    #expect(throws: error) { try RowTemplate(template) }
  }

  @Test("an unknown column names the nearest one")
  func unknown() {
    let columns = ["account_id", "date", "amount", "id"]
    for (wrong, nearest) in [
      ("acount_id", "account_id"), ("Amount", "amount"), ("dtae", "date"), ("balance", nil), ("zz", nil),
    ] {
      #expect(throws: RowTemplateError.unknownColumn(wrong, nearest: nearest, columns: columns)) {
        try RowTemplate("{\(wrong)}", columns: columns)
      }
    }
    let error = RowTemplateError.unknownColumn("dtae", nearest: "date", columns: columns)
    #expect(error.description.contains("did you mean \"date\"?"))
    #expect(error.description.contains("\"account_id\", \"date\", \"amount\", \"id\""))
  }
}
