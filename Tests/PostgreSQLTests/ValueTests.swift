import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@Suite("Values", .database, .timeLimit(.minutes(15)))
struct ValueTests {
  private func expectRoundTrip<V: PostgreSQLEncodable & PostgreSQLDecodable & Equatable>(
    _ values: [V], null typeOID: UInt32
  ) async throws {
    try await withConnection { connection in
      let echo = Statement("SELECT $1")
      for value in values {
        let row = try #require(try await connection.execute(echo, Parameters(value)).first)
        let back = try row.decode(V.self)
        #expect(back == value)
      }
      var parameters = Parameters()
      parameters.appendNull(typeOID)
      let row = try #require(try await connection.execute(echo, parameters).first)
      let nothing = try row.decode(V?.self)
      #expect(nothing == nil)
      #expect(throws: PostgreSQLError.self) { try row.decode(V.self) }
    }
  }

  @Test func truthValues() async throws { try await expectRoundTrip([true, false], null: TypeOID.bool) }
  @Test func integers() async throws { try await expectRoundTrip([0, -1, .min, .max], null: TypeOID.int8) }
  @Test func uuids() async throws { try await expectRoundTrip([UUID(), UUID()], null: TypeOID.uuid) }

  @Test func doubles() async throws {
    try await expectRoundTrip([0, -1.5, .infinity, .leastNonzeroMagnitude, .pi], null: TypeOID.float8)
  }

  @Test func texts() async throws {
    try await expectRoundTrip(
      ["", "a", "it's \"quoted\" \\ 𝄞 é", String(repeating: "ü", count: 100_000)], null: TypeOID.text)
  }

  @Test func bytes() async throws {
    try await expectRoundTrip([Bytea([]), Bytea([0, 255, 0]), Bytea(Array(0...255))], null: TypeOID.bytea)
  }

  @Test("dates keep their microseconds")
  func dates() async throws {
    try await expectRoundTrip(
      [
        Date(timeIntervalSinceReferenceDate: 0), Date(timeIntervalSince1970: -1),
        Date(timeIntervalSinceReferenceDate: 812_345_678.123456),
      ], null: TypeOID.timestamptz)
    try await withConnection { connection in
      let date: Date = try await connection.one("SELECT timestamptz '2026-02-03 04:05:06.789012+00'")
      #expect(date.microsecondsSince2000 == 823_406_706_789_012)
    }
  }

  @Test("integers of every width are read by accessors and by decode")
  func widths() async throws {
    try await withConnection { connection in
      let rows = try await connection.execute(
        Statement("SELECT $1, $2, $3"), Parameters(Int16.min, Int32.max, Int64.min))
      #expect(rows.int16(0, 0) == .min)
      #expect(rows.int32(0, 1) == .max)
      #expect(rows.int64(0, 2) == .min)
      let decoded = try rows[0].decode((Int, Int, Int).self)
      #expect(decoded == (Int(Int16.min), Int(Int32.max), Int.min))
    }
  }

  @Test("empty values and nulls stand side by side")
  func emptyBesideNull() async throws {
    try await withConnection { connection in
      let rows = try await connection.execute(
        Statement("SELECT $1, $2::text, $3, $4::bytea, $5"),
        Parameters("", nil, Bytea([]), nil, "x"))
      let decoded = try rows[0].decode((String?, String?, Bytea?, Bytea?, String?).self)
      #expect(decoded == ("", nil, Bytea([]), nil, "x"))
    }
  }

  @Test("a wrong type or a missing column is an error, not a trap")
  func wrongColumns() async throws {
    try await withConnection { connection in
      let row = try #require(try await connection.execute(Statement("SELECT 1::int4")).first)
      for body in [{ _ = try row.decode(String.self) }, { _ = try row.decode((Int, Int).self) }] {
        let error = #expect(throws: PostgreSQLError.self) { try body() }
        #expect(error?.code == .unexpectedResult)
      }
    }
  }

  @Test("a value of 10 MB goes both ways, past what the socket holds")
  func large() async throws {
    var value = Array(0...UInt8.max)
    while value.count < 10_000_000 { value += value }
    // No two pages alike.
    for (page, start) in stride(from: 0, to: value.count, by: 4096).enumerated() {
      value[start] = UInt8(page % 256)
      value[start + 1] = UInt8(page / 256)
    }
    try await withConnection { connection in
      // Several at once: the server answers the first while the others are still on their way.
      let echo = Statement("SELECT $1")
      let pending = (0..<3).map { _ in connection.send(echo, Parameters(Bytea(value))) }
      for result in pending {
        let rows = try await result.rows()
        #expect(rows.holds(value))
      }
    }
  }

  @Test("too many or too large parameters are refused; the connection lives")
  func tooMany() async throws {
    try await withConnection { connection in
      var parameters = Parameters()
      for _ in 0...65535 { parameters.append(true) }
      let error = try await failure { try await connection.execute(Statement("SELECT 1"), parameters) }
      #expect(error.code == .unexpectedResult)
      let one: Int = try await connection.one("SELECT 1")
      #expect(one == 1)
    }
  }
}

@Suite("Arrays", .database, .timeLimit(.minutes(15)))
struct ArrayTests {
  @Test func text() async throws {
    try await withConnection { connection in
      var array = BinaryArray(of: TypeOID.text)
      array.append("a,b")
      array.appendNull()
      array.append("")
      let written: String = try await connection.one("SELECT $1::text", Parameters(array))
      #expect(written == #"{"a,b",NULL,""}"#)
      let cardinality: Int = try await connection.one("SELECT cardinality($1)", Parameters(array))
      #expect(cardinality == array.count)
    }
  }

  @Test("an empty array is empty, not null")
  func empty() async throws {
    try await withConnection { connection in
      let isEmpty: Bool = try await connection.one("SELECT $1 = '{}'", Parameters(BinaryArray([Int64]())))
      #expect(isEmpty)
      let rows = try await connection.execute(Statement("SELECT '{}'::int8[], NULL::int8[]"))
      #expect(rows.int64Array(0, 0) == [])
      #expect(rows.int64Array(0, 1) == [])
    }
  }

  @Test func integers() async throws {
    try await withConnection { connection in
      let values = [Int64.min, -1, 0, 1, .max]
      let rows = try await connection.execute(Statement("SELECT $1"), Parameters(BinaryArray(values)))
      #expect(rows.int64Array(0, 0) == values)
    }
  }

  @Test func otherElements() async throws {
    let uuid = UUID()
    var flags = BinaryArray(of: TypeOID.bool)
    flags.append(true)
    var numbers = BinaryArray(of: TypeOID.int4)
    numbers.append(Int32(-7))
    var blobs = BinaryArray(of: TypeOID.bytea)
    blobs.append([])
    blobs.append([1, 2])
    let parameters = Parameters(BinaryArray([uuid]), flags, numbers, blobs)
    try await withConnection { connection in
      let rows = try await connection.execute(
        Statement("SELECT ($1)[1], ($2)[1], ($3)[1], ($4)[1], ($4)[2]"), parameters)
      let decoded = try rows[0].decode((UUID, Bool, Int, Bytea, Bytea).self)
      #expect(decoded == (uuid, true, -7, Bytea([]), Bytea([1, 2])))
    }
  }
}
