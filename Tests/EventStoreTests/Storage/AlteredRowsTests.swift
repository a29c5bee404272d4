import EventStore
import FoundationEssentials
import PostgreSQL
import TestSupport
import Testing

@Suite("Rows that a superuser has altered", .database, .timeLimit(.minutes(15)))
struct AlteredRowsTests {
  struct Alteration: Sendable, CustomTestStringConvertible {
    let name: String
    /// Done to event 2 of five, or to the keys.
    let sql: String
    /// What the events then say, in the order of the log.
    let codes: [String]
    var testDescription: String { name }
  }

  private static let event = "WHERE position = (SELECT min(position) + 1 FROM events)"
  private static let onlySecond = ["ok", "altered", "ok", "ok", "ok"]

  /// Events 1 to 3 are of account-1, 4 and 5 of account-2.
  static let alterations = [
    Alteration(
      name: "a flipped bit at the end",
      sql:
        "UPDATE events SET data = set_byte(data, length(data) - 1, get_byte(data, length(data) - 1) # 1) \(event)",
      codes: onlySecond),
    Alteration(
      name: "another id", sql: "UPDATE events SET event_id = gen_random_uuid() \(event)", codes: onlySecond),
    Alteration(
      name: "another type", sql: "UPDATE events SET type = 'test.other' \(event)", codes: onlySecond),
    Alteration(
      name: "another schema version", sql: "UPDATE events SET schema_version = 2 \(event)", codes: onlySecond),
    Alteration(
      name: "other metadata", sql: "UPDATE events SET metadata = '{\"a\":\"b\"}' \(event)", codes: onlySecond),
    Alteration(
      name: "another time", sql: "UPDATE events SET occurred_at = now() \(event)", codes: onlySecond),
    Alteration(
      name: "moved to another stream",
      sql:
        "UPDATE events SET version = 9, stream_id = (SELECT stream_id FROM streams WHERE name = 'account-2') \(event)",
      codes: onlySecond),
    Alteration(
      name: "two payloads swapped",
      sql: """
        UPDATE events e SET data = o.data FROM events o
         WHERE e.version < 3 AND o.version = 3 - e.version AND o.stream_id = e.stream_id
           AND e.stream_id = (SELECT stream_id FROM streams WHERE name = 'account-1')
        """,
      codes: ["altered", "altered", "ok", "ok", "ok"]),
    Alteration(
      name: "a stream relabelled",
      sql: "UPDATE streams SET name = 'account-9' WHERE name = 'account-1'",
      codes: ["altered", "altered", "altered", "ok", "ok"]),
    Alteration(
      name: "no envelope", sql: "UPDATE events SET data = '\\xff11' \(event)",
      codes: ["ok", "malformed", "ok", "ok", "ok"]),
    Alteration(
      name: "nothing", sql: "UPDATE events SET data = '' \(event)",
      codes: ["ok", "malformed", "ok", "ok", "ok"]),
    Alteration(
      name: "a lost data key", sql: "DELETE FROM data_keys WHERE subject = 'account-1'",
      codes: ["dataKeyMissing", "dataKeyMissing", "dataKeyMissing", "ok", "ok"]),
    Alteration(
      name: "an altered data key",
      sql: "UPDATE data_keys SET wrapped_key = set_byte(wrapped_key, 40, get_byte(wrapped_key, 40) # 1) "
        + "WHERE subject = 'account-2'",
      codes: ["ok", "ok", "ok", "dataKeyAltered", "dataKeyAltered"]),
    Alteration(
      name: "a data key of another subject",
      sql: "UPDATE data_keys SET subject = 'x' WHERE subject = 'account-2'",
      codes: ["ok", "ok", "ok", "dataKeyAltered", "dataKeyAltered"]),
    Alteration(
      name: "a shredded subject",
      sql: "UPDATE data_keys SET wrapped_key = NULL, shredded_at = now() WHERE subject = 'account-2'",
      codes: ["ok", "ok", "ok", "shredded", "shredded"]),
    Alteration(
      name: "a master key that is not at hand",
      sql: "INSERT INTO master_keys VALUES ('mk_other', ''); "
        + "UPDATE data_keys SET master_key_id = 'mk_other' WHERE subject = 'account-2'",
      codes: ["ok", "ok", "ok", "masterKeyMissing", "masterKeyMissing"]),
  ]

  @Test("each gives its own error, and spoils no other event", arguments: alterations)
  func alteration(alteration: Alteration) async throws {
    let database = try TestDatabase.required
    try await database.withLog { log in
      try await log.append(EventData.samples(3), to: "account-1", expecting: .noStream)
      try await log.append(EventData.samples(2), to: "account-2", expecting: .noStream)
    }
    // Triggers of the owner do not fire for a superuser who asks for that.
    try await database.sql(
      "SET session_replication_role = replica; SET search_path = eventstore; \(alteration.sql)")
    try await database.withLog { log in
      let events = try await log.readAll().collect()
      let codes = events.map { event in
        switch event.payload {
        case .success: "ok"
        case .failure(let error): error.code
        }
      }
      #expect(codes == alteration.codes)
      #expect(try await log.subscribe().first(5).count == 5)
      // The store goes on: what is written now can be read.
      let version = try await log.version(of: "account-2") ?? 0
      try await log.append([.sample("new")], to: "account-2", expecting: .exact(version))
      #expect(try await log.read("account-2", .backwards).first(1).first?.text == "new")
    }
  }

  private func appendOne(_ database: TestDatabase) async throws {
    try await database.withLog { log in
      try await log.append(EventData.samples(1), to: "account-1", expecting: .noStream)
    }
  }

  @Test("a data key that was lost and restored opens again, for a reader that goes on too")
  func mended() async throws {
    let database = try TestDatabase.required
    try await appendOne(database)
    try await database.sql(
      """
      SET session_replication_role = replica;
      CREATE TABLE lost AS TABLE eventstore.data_keys; DELETE FROM eventstore.data_keys;
      """)
    try await database.withLog { log in
      var codes: [String?] = []
      for try await event in log.subscribe() {
        codes.append({ if case .failure(let error) = event.payload { error.code } else { nil } }())
        if codes.count == 3 { break }
        if codes.count == 1 { try await database.sql("INSERT INTO eventstore.data_keys TABLE lost") }
        try await database.withLog { other in
          try await other.append([.sample()], to: "account-1", expecting: .any)
        }
      }
      #expect(codes == ["dataKeyMissing", nil, nil])
      let again = try await log.read("account-1").collect()
      #expect(again.allSatisfy { $0.text != nil })
    }
  }

  @Test("a retry is not told to be the same as what cannot be opened; of a shredded one all else decides")
  func retried() async throws {
    let database = try TestDatabase.required
    let events = EventData.samples(1)
    try await database.withLog { log in
      try await log.append(events, to: "account-1", expecting: .noStream)
    }
    let flip = "SET data = set_byte(data, length(data) - 1, get_byte(data, length(data) - 1) # 1)"
    try await database.sql("SET session_replication_role = replica; UPDATE eventstore.events \(flip)")
    try await database.withLog { log in
      await #expect { try await log.append(events, to: "account-1", expecting: .noStream) } throws: { error in
        if case AppendError.duplicateEventID = error { true } else { false }
      }
    }
    try await database.sql("UPDATE eventstore.data_keys SET wrapped_key = NULL, shredded_at = now()")
    try await database.withLog { log in
      let again = try await log.append(events, to: "account-1", expecting: .noStream)
      #expect(again.wasDuplicate)
    }
  }

  @Test("who has no key takes no plaintext for good in a sealed store, and writes none")
  func withoutKeys() async throws {
    let database = try TestDatabase.required
    try await appendOne(database)
    try await database.sql(
      "SET session_replication_role = replica; UPDATE eventstore.events SET data = '\\x00007b7d'")
    try await database.withLog({
      $0.encryption = .off
      $0.plaintextCategories = ["public"]
    }) { log in
      let codes = try await log.readAll().collect().map { event in
        if case .failure(let error) = event.payload { error.code } else { "ok" }
      }
      #expect(codes == ["notSealed"])
      await #expect { try await log.append([.sample()], to: "account-2", expecting: .noStream) } throws: { error in
        if case AppendError.encryption(.noMasterKey) = error { true } else { false }
      }
      try await log.append([.sample("open")], to: "public-1", expecting: .noStream)
      #expect(try await log.read("public-1").collect().map(\.text) == ["open"])
    }
  }
}
