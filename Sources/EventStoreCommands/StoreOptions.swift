internal import ArgumentParser
internal import EmbeddedPostgreSQL
internal import EventStore
internal import FoundationEssentials
internal import Glibc
internal import PostgreSQL
internal import Subprocess
internal import SystemPackage

/// Which store, with which keys: the options that every command has.
struct StoreOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The database: a libpq connection string or URI. Default: EVENTSTORE_URL, else a private PostgreSQL.",
      valueName: "connection"))
  var url: String?

  @Option(help: "The PostgreSQL schema of the store. Default: EVENTSTORE_SCHEMA, else eventstore.")
  var schema: String?

  @Option(
    help: ArgumentHelp(
      "The keyring file. Default: EVENTSTORE_KEYRING, else keyring in the directory.", valueName: "file"))
  var keyring: String?

  @Option(
    help: ArgumentHelp(
      "Where the private PostgreSQL and the keyring live. Default: EVENTSTORE_DIRECTORY, else .eventstore.",
      valueName: "path"))
  var directory: String?

  @Flag(help: "Print JSON, and errors as JSON on standard error.")
  var json = false

  func validate() throws {
    // As from a script whose variable is not set.
    if directory?.isEmpty == true { throw ValidationError("--directory: expected a path, found nothing") }
    if url?.isEmpty == true { throw ValidationError("--url: expected a connection string or URI, found nothing") }
    if keyring?.isEmpty == true { throw ValidationError("--keyring: expected a path, found nothing") }
  }

  var directoryPath: String { directory ?? CommandEnvironment.variable("EVENTSTORE_DIRECTORY") ?? ".eventstore" }

  var keyringPath: String {
    keyring ?? CommandEnvironment.variable("EVENTSTORE_KEYRING") ?? "\(directoryPath)/keyring"
  }

  var schemaName: SchemaName {
    get throws { try SchemaName(schema ?? CommandEnvironment.variable("EVENTSTORE_SCHEMA") ?? "eventstore") }
  }

  var givenURL: String? { url ?? CommandEnvironment.variable("EVENTSTORE_URL") }

  var isEmbedded: Bool { givenURL == nil }

  var cluster: EmbeddedCluster { EmbeddedCluster(directory: FilePath(directoryPath)) }

  /// Progress on standard error. With `--json` only for a person who watches: a program finds nothing there but errors.
  func progressBar(_ label: String, total: Int?, unit: ProgressBar.Unit) -> ProgressBar {
    let terminal = StandardOutput(descriptor: 2).terminal
    guard json, !terminal.isInteractive else {
      return ProgressBar(label, total: total, unit: unit, terminal: terminal)
    }
    return ProgressBar(label, total: total, unit: unit, terminal: terminal, output: { _ in })
  }

  /// A line on standard error that is no error; with `--json` an object.
  func notice(_ text: String) {
    guard json else { return StandardOutput.complain("esctl: \(text)") }
    StandardOutput.complain(.object([("notice", .string(text))]))
  }

  /// What may not be entered looks as if it were not there.
  func checkDirectory() throws {
    guard isEmbedded else { return }
    var found = stat()
    var problem: Int32?
    if stat(directoryPath, &found) != 0 {
      problem = errno == ENOENT ? nil : errno
    } else if found.st_mode & S_IFMT != S_IFDIR {
      problem = ENOTDIR
    } else if access(directoryPath, R_OK | X_OK) != 0 {
      problem = errno
    }
    guard let problem else { return }
    throw CommandFailure(
      .unavailable, "noAccess",
      "\(directoryPath) cannot be entered: \(String(cString: strerror(problem))). "
        + (problem == ENOTDIR ? "Name" : "Run as the user whose it is, or name") + " another with --directory")
  }

  // MARK: The database

  /// The connection string; starts the private server where that is the database.
  func connectionString() async throws -> String {
    if let givenURL { return givenURL }
    try checkDirectory()
    let cluster = cluster
    if let running = cluster.connectionString() { return running }
    return try await naming(fullDisk: { try await start(cluster) })
  }

  private func start(_ cluster: EmbeddedCluster) async throws -> String {
    let isNew = await cluster.status() == .absent
    notice(
      isNew
        ? "creating a private PostgreSQL in \(directoryPath) (set EVENTSTORE_URL to use your own)"
        : "starting the private PostgreSQL in \(directoryPath)")
    return try await cluster.start()
  }

  func connection() async throws -> ConnectionConfiguration {
    var configuration = ConnectionConfiguration(try await connectionString())
    configuration.applicationName = "esctl"
    switch CommandEnvironment.variable("EVENTSTORE_PREPARED_STATEMENTS") {
    case nil, "on": break
    case "off": configuration.preparedStatements = false
    case let other?:
      throw CommandFailure(
        .usage, "usage", "EVENTSTORE_PREPARED_STATEMENTS is \(other.debugDescription): expected on or off")
    }
    return configuration
  }

  /// The connection to a store. In the private PostgreSQL it is made by the first command that writes, and migrated by
  /// itself; a command that only reads makes none, as its directory or schema may be a slip.
  private func connection(for access: Access) async throws -> ConnectionConfiguration {
    try checkDirectory()
    if isEmbedded, access != .write, await cluster.status() == .absent {
      throw CommandFailure(
        .notFound, "noStore", "there is no event store in \(directoryPath): `esctl up` or the first append makes one")
    }
    return try await whenReady {
      let connection = try await connection()
      guard isEmbedded else { return connection }
      let migrator = Migrator(connection, schema: try schemaName)
      if access == .write { try await migrator.migrateIfNeeded() } else { try await migrator.upgradeIfNeeded() }
      return connection
    }
  }

  /// The connection to a server that takes connections now, of a store or of none.
  func readyConnection() async throws -> ConnectionConfiguration {
    try await whenReady {
      let configuration = try await connection()
      try await Connection.connect(configuration).close()
      return configuration
    }
  }

  /// Waits for the private server, which takes no connections while it recovers from a crash.
  ///
  /// - Parameter isStarted: Whether `body` starts it: then it is waited for, too, where it is about to stop.
  func whenReady<R>(isStarted: Bool = true, _ body: () async throws -> R) async throws -> R {
    let deadline = ContinuousClock.now + .seconds(60)
    while true {
      do { return try await body() } catch {
        // libpq tells no SQLSTATE; the private server speaks English. (A start that failed may have the words in its log.)
        let problem = CommandFailure(error).description
        guard isEmbedded, .now < deadline, !(error is EmbeddedClusterError),
          problem.contains("the database system is "),
          isStarted || !problem.contains("shutting down")
        else { throw error }
        try await Task.sleep(for: .milliseconds(100))
      }
    }
  }

  // MARK: The log

  enum Access {
    /// Appends: needs the store's own master key.
    case write
    /// Reads payloads: goes without a key, event by event.
    case read
    /// Reads no payload.
    case inspect
    /// Appends nothing, but seals: needs a store that is there, and its own master key.
    case maintain
  }

  func withLog<R>(_ access: Access, _ body: (PostgreSQLEventLog) async throws -> R) async throws -> R {
    try await naming(fullDisk: { try await PostgreSQLEventLog.withLog(try await configuration(access), body) })
  }

  func configuration(_ access: Access) async throws -> EventLogConfiguration {
    let connection = try await connection(for: access)
    let encryption: EventLogConfiguration.Encryption
    switch access {
    case .inspect: encryption = .off
    case .read: encryption = try await masterKeys().map { .sealed($0) } ?? .off
    case .write, .maintain: encryption = .sealed(try await masterKeysForWriting(connection))
    }
    var configuration = EventLogConfiguration(
      connection.connectionString, schema: try schemaName, encryption: encryption)
    configuration.connection = connection
    configuration.logger = ComplainingLog.logger(json: json)
    configuration.isReadOnly = access == .read || access == .inspect
    if access == .read {
      // Who follows a store from before its first append, which makes the keyring.
      let path = keyringPath
      configuration.laterKeyring = { try? Keyring.open(file: path) }
    }
    if let categories = CommandEnvironment.variable("EVENTSTORE_PLAINTEXT_CATEGORIES") {
      configuration.plaintextCategories = Set(categories.split(separator: ",").map(String.init))
    }
    return configuration
  }

  // MARK: Keys

  /// The master keys in hand, from the first of: EVENTSTORE_MASTER_KEY, EVENTSTORE_MASTER_KEY_COMMAND, the keyring
  /// file. `nil` when there is no keyring file.
  func masterKeys() async throws -> Keyring? {
    if let text = CommandEnvironment.variable("EVENTSTORE_MASTER_KEY") {
      return try Keyring(text: Array(text.utf8), source: "EVENTSTORE_MASTER_KEY")
    }
    if let command = CommandEnvironment.variable("EVENTSTORE_MASTER_KEY_COMMAND") {
      return try await Self.masterKeys(printedBy: command)
    }
    do throws(EncryptionError) {
      return try Keyring.open(file: keyringPath)
    } catch {
      if case .keyringNotFound = error { return nil }
      throw error
    }
  }

  /// For a key management service or a vault: a command that prints the keyring, or one key.
  private static func masterKeys(printedBy command: String) async throws -> Keyring {
    let result: ExecutionResult<Void, BytesOutput, DiscardedOutput>
    do {
      result = try await Subprocess.run(
        .path("/bin/sh"), arguments: ["-c", command], output: .bytes(limit: 1 << 20), error: .discarded)
    } catch let error as SubprocessError {
      throw CommandFailure(.encryption, "masterKeyCommand", "EVENTSTORE_MASTER_KEY_COMMAND failed: \(error)")
    }
    guard result.terminationStatus.isSuccess else {
      throw CommandFailure(
        .encryption, "masterKeyCommand",
        "EVENTSTORE_MASTER_KEY_COMMAND failed (\(result.terminationStatus.words)): run it by hand to see why")
    }
    return try Keyring(text: result.standardOutput, source: "EVENTSTORE_MASTER_KEY_COMMAND")
  }

  /// The master keys in hand; a new store gets a new keyring.
  ///
  /// - Parameter isBeside: They are for something beside the store, which may not be there yet.
  /// - Throws: `keyringNotFound` when the keyring of a store that is sealed already is not in hand: a new one could only
  ///   be wrong.
  func masterKeysForWriting(_ connection: ConnectionConfiguration, isBeside: Bool = false) async throws -> Keyring {
    if let keyring = try await masterKeys() { return keyring }
    let pool = ConnectionPool(connection)
    defer { pool.close() }
    let inspection = StoreInspection(pool, schema: try schemaName)
    let status = try await inspection.migrationStatus()
    if isBeside, case .absent = status { return try createKeyring() }
    guard case .upToDate = status else { throw OpenError.notMigrated(try schemaName, status) }
    let registered = try await inspection.masterKeyIDs()
    guard registered.isEmpty else {
      throw CommandFailure(
        .encryption, "keyringNotFound",
        "no keyring at \(keyringPath), and the store is sealed under \(registered.joined(separator: ", ")): restore the "
          + "keyring from its backup, or name it with EVENTSTORE_KEYRING")
    }
    return try createKeyring()
  }

  func createKeyring() throws -> Keyring {
    do throws(EncryptionError) {
      let keyring = try Keyring.create(file: keyringPath)
      notice("created the keyring \(keyringPath) with master key \(keyring.active.id)")
      notice("BACK IT UP. Without it no payload of this store can ever be read again.")
      return keyring
    } catch {
      // Another process made it just now: that one is it.
      if case .keyringExists = error { return try Keyring.open(file: keyringPath) }
      throw error
    }
  }
}

extension StoreOptions {
  private func naming<R>(fullDisk body: () async throws -> R) async throws -> R {
    do {
      return try await body()
    } catch {
      throw naming(fullDiskBehind: error)
    }
  }

  /// Without room for its log the private PostgreSQL stops, and says why where nobody looks.
  func naming(fullDiskBehind error: any Error) -> any Error {
    var failure = CommandFailure(error)
    guard failure.status == .unavailable, let free = freeBytes, free < Self.tooFewBytes,
      !failure.description.hasPrefix(Self.fullDisk)
    else { return error }
    failure.description =
      "\(Self.fullDisk) (\(Quantity.bytes(free)) are left where \(directoryPath) lies): make room, then do it again. What was "
      + "committed is safe. \(failure.description)"
    return failure
  }

  private static let fullDisk = "the disk of the private PostgreSQL is full"

  /// PostgreSQL makes its log in files of 16 MiB, and stops where it cannot.
  static let tooFewBytes = 64 << 20

  /// Bytes that are left on the disk of the private PostgreSQL; `nil` where there is none, or the system does not say.
  var freeBytes: Int? {
    guard isEmbedded else { return nil }
    var disk = statvfs()
    guard statvfs(directoryPath, &disk) == 0 else { return nil }
    return Int(disk.f_bavail) * Int(disk.f_frsize)
  }
}
