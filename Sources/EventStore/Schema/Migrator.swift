public import PostgreSQL

/// Makes and upgrades a store's tables and functions.
///
/// Forward only, in one transaction under a lock: run it twice, or from two processes at once, and it is done once.
public struct Migrator: Sendable {
  /// One step of the schema: released once, and never changed.
  public struct Migration: Sendable, Hashable {
    /// From 0, without gaps.
    public let number: Int
    /// The name of its file, which begins with the number in four digits: `0001_log`.
    public let name: String
  }

  /// What this binary knows, in order.
  public static let known: [Migration] = SQL.migrations.map { Migration(number: number(of: $0.name), name: $0.name) }

  private let connectionString: ConnectionConfiguration
  private let schema: SchemaName

  /// Nothing is connected to until a store is migrated.
  ///
  /// - Parameter schema: The PostgreSQL schema that holds the store; made where it is not there.
  public init(_ connection: ConnectionConfiguration, schema: SchemaName = "eventstore") {
    connectionString = connection
    self.schema = schema
  }

  /// Brings the store up to this binary's schema.
  ///
  /// - Parameter last: Stop after this migration: for tests of upgrades.
  /// - Returns: The migrations that it applied; none when the store was up to date.
  /// - Throws: ``MigrationError``; the database is then as it was.
  @discardableResult
  public func migrate(upTo last: Int = .max) async throws(MigrationError) -> [Migration] {
    do {
      let connection = try await Connection.connect(connectionString)
      defer { connection.close() }
      return try await migrate(connection, upTo: last)
    } catch let error as PostgreSQLError {
      throw .database(error)
    } catch let error as MigrationError {
      throw error
    } catch {
      preconditionFailure("not an error of this module: \(type(of: error))")
    }
  }

  /// As ``migrate(upTo:)``, but looks first, and does nothing where this binary's own migrations, functions and
  /// privileges are there already.
  @discardableResult
  public func migrateIfNeeded() async throws(MigrationError) -> [Migration] {
    try await migrateIfNeeded(mayCreate: true)
  }

  /// As ``migrateIfNeeded()``, but makes no store where there is none.
  @discardableResult
  public func upgradeIfNeeded() async throws(MigrationError) -> [Migration] {
    try await migrateIfNeeded(mayCreate: false)
  }

  private func migrateIfNeeded(mayCreate: Bool) async throws(MigrationError) -> [Migration] {
    do {
      let connection = try await Connection.connect(connectionString)
      defer { connection.close() }
      let found = try await connection.execute(Self.comment, Parameters(schema.name))
      if found.text(0, 0) == Self.contents { return [] }
      if !mayCreate, try await !connection.execute(Self.exists, Parameters(schema.name)).bool(0, 0) { return [] }
      return try await migrate(connection, upTo: .max)
    } catch let error as PostgreSQLError {
      throw .database(error)
    } catch let error as MigrationError {
      throw error
    } catch {
      preconditionFailure("not an error of this module: \(type(of: error))")
    }
  }

  /// Raised with each change of functions or privileges, so that an older binary does not put its own in their place. A test
  /// holds to it.
  package static let contentsVersion = 5

  /// SHA-256, in hexadecimal digits, of everything that this binary makes in a store.
  package static let digestOfContents: String = {
    let text = (SQL.migrations + SQL.functions + SQL.privileges).map(\.text).joined()
    return StateShape.hexSHA256(Array(text.utf8))
  }()

  /// What stands as the schema's comment once everything of this binary is in it.
  private static let contents =
    "eventstore, migration \(known.last?.number ?? 0), version \(contentsVersion), contents \(digestOfContents)"

  /// The version of what a schema's comment says to be in it; 0 where it does not say.
  private static func contentsVersion(of comment: String) -> Int {
    comment.firstMatch(of: #/^eventstore, .*version (\d+), contents /#).flatMap { Int($0.1) } ?? 0
  }

  private static let comment = Statement(
    "SELECT obj_description(to_regnamespace(quote_ident($1))::oid, 'pg_namespace')")

  private func migrate(_ connection: Connection, upTo last: Int) async throws -> [Migration] {
    // Migrations may rewrite tables: no time-out but the administrator's own.
    let patience = Duration.seconds(86400)
    try await connection.script("BEGIN")
    try await connection.script("SET LOCAL client_min_messages = warning")
    try await connection.execute(Self.lock, Parameters(schema.name), timeout: patience)
    try await connection.script("CREATE SCHEMA IF NOT EXISTS \(schema.quoted)")
    try await connection.script("SET LOCAL search_path TO \(schema.quoted), pg_temp")
    let applied = try await applied(connection)
    for (number, digest) in applied {
      guard let file = SQL.migrations.first(where: { Self.number(of: $0.name) == number }) else {
        throw MigrationError.newer(found: applied.keys.max() ?? 0, known: Self.known.last?.number ?? 0)
      }
      let expected = try await connection.execute(Self.digest, Parameters(file.text))
      guard expected.text(0, 0) == digest else { throw MigrationError.changed(name: file.name) }
    }
    let comment = try await connection.execute(Self.comment, Parameters(schema.name))
    let found = comment.isNull(0, 0) ? 0 : Self.contentsVersion(of: comment.text(0, 0))
    guard found <= Self.contentsVersion else {
      throw MigrationError.newerFunctions(found: found, known: Self.contentsVersion)
    }
    var done: [Migration] = []
    for file in SQL.migrations where applied[Self.number(of: file.name)] == nil && Self.number(of: file.name) <= last {
      try await connection.script(file.text, timeout: patience)
      try await connection.execute(Self.record, Parameters(Int32(Self.number(of: file.name)), file.name, file.text))
      done.append(Migration(number: Self.number(of: file.name), name: file.name))
    }
    if last == .max {
      for file in SQL.functions + SQL.privileges {
        try await connection.script(schema.sql(file.text))
      }
      // A schema that an administrator made is perhaps not ours to comment: then the next look is not so short.
      try await connection.script(
        """
        DO $$ BEGIN COMMENT ON SCHEMA \(schema.quoted) IS '\(Self.contents)';
        EXCEPTION WHEN insufficient_privilege THEN NULL; END $$
        """)
    }
    try await connection.script("COMMIT")
    return done
  }

  private func applied(_ connection: Connection) async throws(PostgreSQLError) -> [Int: String] {
    guard try await connection.execute(Self.exists, Parameters(schema.name)).bool(0, 0) else { return [:] }
    var applied: [Int: String] = [:]
    for row in try await connection.execute(Statement("SELECT number, digest FROM migrations")) {
      let (number, digest) = try row.decode((Int, String).self)
      applied[number] = digest
    }
    return applied
  }

  private static func number(of name: String) -> Int { Int(name.prefix(4)) ?? 0 }

  // One lock a schema, for the transaction.
  private static let lock = Statement("SELECT pg_advisory_xact_lock(hashtextextended('migrate ' || $1::text, 0))")
  private static let exists = Statement("SELECT to_regclass(format('%I.migrations', $1::text)) IS NOT NULL")
  private static let digest = Statement("SELECT encode(sha256(convert_to($1::text, 'UTF8')), 'hex')")
  private static let record = Statement(
    "INSERT INTO migrations (number, name, digest) VALUES ($1, $2, encode(sha256(convert_to($3::text, 'UTF8')), 'hex'))"
  )

  /// How far a store is.
  public enum Status: Sendable, Hashable {
    /// There is no store in this schema.
    case absent
    /// Applied up to the number, with so many still to come.
    case behind(at: Int, missing: Int)
    /// All that this binary knows is applied; the last one has this number.
    case upToDate(at: Int)
    /// A newer binary has migrated it.
    case newer(at: Int)
  }

  /// Compares the store with what this binary knows; changes nothing.
  public static func status(_ pool: ConnectionPool, schema: SchemaName) async throws(PostgreSQLError) -> Status {
    guard try await pool.execute(exists, Parameters(schema.name)).bool(0, 0) else { return .absent }
    let rows = try await pool.execute(Statement("SELECT coalesce(max(number), 0) FROM \(schema.quoted).migrations"))
    let (at) = try rows[0].decode((Int).self)
    let latest = known.last?.number ?? 0
    if at > latest { return .newer(at: at) }
    let missing = known.count { $0.number > at }
    return missing == 0 ? .upToDate(at: at) : .behind(at: at, missing: missing)
  }
}

/// Why a store was not made or brought up to date. It is as it was.
public enum MigrationError: Error, Sendable, CustomStringConvertible {
  /// The database was migrated by a newer binary. Nothing was changed.
  case newer(found: Int, known: Int)
  /// A newer binary has made its functions and privileges there. Nothing was changed.
  case newerFunctions(found: Int, known: Int)
  /// A migration that was applied had another text: this is another program's schema, or a migration was edited.
  case changed(name: String)
  /// The server is away or refused: rolled back.
  case database(PostgreSQLError)

  public var description: String {
    switch self {
    case .newer(let found, let known):
      "the database is at migration \(found), but this binary knows only \(known): use a newer binary; nothing was changed"
    case .newerFunctions(let found, let known):
      "the database has version \(found) of the store's functions and privileges, and this binary only version \(known): "
        + "use a newer binary; nothing was changed"
    case .changed(let name):
      "migration \(name) was applied with another text than this binary has: the schema is not this program's, or a "
        + "released migration was edited; nothing was changed"
    case .database(let error): "the migration was rolled back: \(error)"
    }
  }
}

/// The PostgreSQL schema of one store: several stores can live in one database.
public struct SchemaName: Sendable, Hashable, ExpressibleByStringLiteral, CustomStringConvertible {
  /// 1 to 53 characters, without quotes.
  public let name: String
  public var description: String { name }
  package var quoted: String { "\"\(name)\"" }

  /// - Throws: ``InvalidName`` unless it is 1 to 53 characters from a to z, 0 to 9 and `_`, starting with a letter but not with
  ///   `pg_`, which is PostgreSQL's.
  public init(_ name: String) throws(InvalidName) {
    guard Self.isValid(name) else {
      throw InvalidName(
        kind: "schema name", name: name,
        problem: "is not 1 to 53 characters of a-z, 0-9 and _, starting with a letter and not with pg_")
    }
    self.name = name
  }

  /// A literal is the programmer's word: an invalid one traps.
  public init(stringLiteral name: String) {
    precondition(Self.isValid(name), "\(name) is no schema name")
    self.name = name
  }

  // 53, so that <schema>_projector fits into PostgreSQL's 63.
  private static func isValid(_ name: String) -> Bool {
    let letters = UInt8(ascii: "a")...UInt8(ascii: "z")
    let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
    guard let first = name.utf8.first, letters.contains(first), name.utf8.count <= 53 else { return false }
    return name.utf8.allSatisfy { letters.contains($0) || digits.contains($0) || $0 == UInt8(ascii: "_") }
      && !name.hasPrefix("pg_")
  }
}

extension SchemaName {
  /// A file of schema/, for the store in this schema.
  package func sql(_ text: String) -> String { text.replacing(":\"schema\"", with: quoted) }

  package func statement(_ text: String) -> Statement { Statement(sql(text)) }
}
