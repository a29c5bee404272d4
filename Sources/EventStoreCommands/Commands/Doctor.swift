internal import ArgumentParser
internal import EmbeddedPostgreSQL
internal import EventStore
internal import FoundationEssentials
internal import Outbox
internal import PostgreSQL

struct Doctor: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Check everything that a promise of the store leans on, and say what to do.",
    discussion: """
      Changes nothing. Exits with 1 when a check fails, with 0 when there are only warnings.

      Examples:
        esctl doctor
        esctl doctor --json
      """)
  @OptionGroup var store: StoreOptions

  func run() async throws {
    var report = DoctorReport()
    report.add(
      "AES", EncryptionSupport.isAvailable, "AES-256-GCM is available", EncryptionError.aesUnavailable.description)
    await checkKeyring(&report)
    checkDisk(&report)
    try await checkServer(&report)
    report.print(json: store.json)
    if report.hasFailures { throw ExitCode(ExitStatus.failed.rawValue) }
  }

  private func checkKeyring(_ report: inout DoctorReport) async {
    do {
      guard let keyring = try await store.masterKeys() else {
        return report.warn(
          "keyring", "there is none at \(store.keyringPath)",
          "the first append to a new store makes one; that of a store that is sealed comes from its backup")
      }
      report.pass("keyring", "holds \(keyring.ids.joined(separator: ", ")); active is \(keyring.active.id)")
      if EncryptionSupport.lockedMemoryShortfall > 0 {
        report.warn(
          "locked memory", "\(Quantity.bytes(EncryptionSupport.lockedMemoryShortfall)) of keys could not be locked",
          "raise the limit: ulimit -l")
      }
    } catch {
      report.fail("keyring", "\(error)", nil)
    }
  }

  private static let scarceBytes = 1 << 30

  private func checkDisk(_ report: inout DoctorReport) {
    guard let free = store.freeBytes else { return }
    let finding = "\(Quantity.bytes(free)) are left where \(store.directoryPath) lies"
    let advice =
      "free some: without room the server stops; what was committed is safe, and it goes on when there is room"
    switch free {
    case ..<StoreOptions.tooFewBytes: report.fail("disk", finding, advice)
    case ..<Self.scarceBytes: report.warn("disk", finding, advice)
    default: report.pass("disk", finding)
    }
  }

  private func checkServer(_ report: inout DoctorReport) async throws {
    if store.isEmbedded, store.cluster.connectionString() == nil {
      return report.warn("server", "the private PostgreSQL does not run", "start it: esctl up")
    }
    var configuration = try await store.connection()
    configuration.maximumConnections = 2
    let pool = ConnectionPool(configuration)
    defer { pool.close() }
    do {
      let inspection = StoreInspection(pool, schema: try store.schemaName)
      try await checkSettings(&report, inspection)
      let status = try await inspection.migrationStatus()
      guard case .upToDate = status else {
        let isNewer = if case .newer = status { true } else { false }
        return report.fail(
          "schema", "\(try store.schemaName): \(status.text)", isNewer ? "use a newer esctl" : "run esctl migrate")
      }
      if let changed = try await inspection.changedMigrations().first {
        report.fail(
          "schema", "\(try store.schemaName): \(MigrationError.changed(name: changed))",
          "use the esctl that migrated it, or restore the table of migrations")
      }
      report.pass("schema", "\(try store.schemaName): \(status.text)")
      try await checkPrivileges(&report, inspection)
      try await checkMasterKey(&report, inspection)
      try await checkCategories(&report, inspection)
      try await checkHorizon(&report, inspection)
      try await checkGroups(&report)
      try await checkSchedules(&report)
    } catch {
      try report.fail(error, schema: store.schemaName)
    }
  }

  private func checkSettings(_ report: inout DoctorReport, _ inspection: StoreInspection) async throws {
    let settings = try await inspection.settings()
    let version = settings["server_version_num"].flatMap { Int($0) } ?? 0
    report.add(
      "server", PostgreSQLInstallation.supportedMajors.contains(version / 10000),
      "PostgreSQL \(version / 10000).\(version % 10000)",
      "PostgreSQL \(version / 10000) is not supported: use 15 to 18")
    report.add(
      "fsync", settings["fsync"] == "on", "on",
      "off: a crash of the machine can lose or corrupt what was acknowledged; set fsync = on")
    report.add(
      "full_page_writes", settings["full_page_writes"] == "on", "on",
      "off: a crash can leave torn pages; set full_page_writes = on")
    report.add(
      "synchronous_commit", settings["synchronous_commit"] != "off", settings["synchronous_commit"] ?? "",
      "off: an acknowledged append can be lost in a crash; set synchronous_commit = on for the application's role")
    if let standbys = settings["synchronous_standby_names"], !standbys.isEmpty {
      let messages = settings["client_min_messages"] ?? ""
      report.add(
        "client_min_messages", !["error", "fatal", "panic"].contains(messages), messages,
        "\(messages): an append whose wait for a standby was cancelled would be told as safe; set client_min_messages = "
          + "warning for the application's role")
    }
    if settings["data_checksums"] != "on" {
      report.warn(
        "data_checksums", "off: damage on disk goes unnoticed", "pg_checksums --enable, with the server stopped")
    } else {
      report.pass("data_checksums", "on")
    }
    if settings["autovacuum"] != "on" { report.warn("autovacuum", "off", "set autovacuum = on") }
    if settings["log_parameter_max_length"] != "0", settings["log_statement"] == "all" {
      report.warn(
        "log_statement", "all: the server's log holds parameters, sealed ones included",
        "set log_parameter_max_length = 0")
    }
  }

  private func checkPrivileges(_ report: inout DoctorReport, _ inspection: StoreInspection) async throws {
    let privileges = try await inspection.privileges()
    report.add(
      "privileges", privileges.canAppend && privileges.canRead, "role \(privileges.role) may append and read",
      "role \(privileges.role) may not \(privileges.canRead ? "append" : "read"): GRANT \(try store.schemaName)_writer TO \(privileges.role)"
    )
    if privileges.isSuperuser, !store.isEmbedded {
      report.warn(
        "role", "\(privileges.role) is a superuser",
        "let the application log in with a role that has only \(try store.schemaName)_writer")
    } else if privileges.canChange, !store.isEmbedded {
      report.warn(
        "role", "\(privileges.role) owns the log: only triggers keep it from changing events",
        "let the application log in with a role that has only \(try store.schemaName)_writer")
    }
    report.add(
      "append-only", privileges.isProtected, "triggers refuse UPDATE, DELETE and TRUNCATE",
      "a trigger that protects the log is missing or disabled: ALTER TABLE … ENABLE TRIGGER ALL, then find out who did it"
    )
    report.add(
      "positions", privileges.positionsAreSound, "the sequence has CACHE 1, INCREMENT 1, NO CYCLE",
      "the sequence of positions was altered: readers can skip events; set CACHE 1 INCREMENT 1 NO CYCLE")
  }

  private func checkMasterKey(_ report: inout DoctorReport, _ inspection: StoreInspection) async throws {
    let registered = try await inspection.masterKeyIDs()
    guard !registered.isEmpty else { return }
    let keyring = try? await store.masterKeys()
    report.add(
      "master key", keyring.map { registered.contains($0.active.id) } ?? false,
      "the store's own is in hand",
      EncryptionError.wrongMasterKey(expected: registered, found: keyring?.active.id ?? "none").description)
  }

  private func checkCategories(_ report: inout DoctorReport, _ inspection: StoreInspection) async throws {
    let count = try await inspection.categories().count
    let finding = "\(Quantity.count(count)) of 32,767"
    guard count > 1000 else { return report.pass("categories", finding) }
    report.warn(
      "categories", finding,
      "name streams category-id: what stands before the first '-' is the category, and there is no room for one a stream"
    )
  }

  /// Why consumer groups do not move.
  private func checkGroups(_ report: inout DoctorReport) async throws {
    let found = try await store.withLog(.inspect) { log in
      let groups = ConsumerGroups(log)
      var found: [(group: String, obstacles: [GroupObstacle])] = []
      for status in try await groups.all() {
        found.append((status.group.name, try await groups.obstacles(of: status)))
      }
      return found
    }
    for (group, obstacles) in found {
      for obstacle in obstacles { report.warn("group \(group)", obstacle.finding, obstacle.advice(group)) }
      if obstacles.isEmpty { report.pass("group \(group)", "nothing keeps it from moving") }
    }
  }

  private func checkSchedules(_ report: inout DoctorReport) async throws {
    let schedules = try await store.withLog(.inspect) { log in try await Schedules(log).all(limit: 10_000) }
    guard let next = schedules.first else { return }
    let failing = schedules.filter { $0.problem != nil }
    let overdue = schedules.filter { $0.isOverdue && $0.problem == nil }
    for schedule in failing.prefix(5) {
      report.warn(
        "schedule \(schedule.name)",
        "not appended at \(Timestamp.text(schedule.dueAt)), \(schedule.attempts) tries: \(schedule.problem ?? "")",
        "mend that, or esctl outbox schedule cancel \(schedule.name)")
    }
    if !overdue.isEmpty {
      report.warn(
        "schedules", "\(overdue.count) overdue, the first since \(Timestamp.text(overdue[0].dueAt)): no scheduler runs",
        "esctl outbox schedule run, or a Scheduler in a service")
    } else if failing.isEmpty {
      report.pass("schedules", "\(schedules.count), the next at \(Timestamp.text(next.dueAt))")
    }
  }

  private func checkHorizon(_ report: inout DoctorReport, _ inspection: StoreInspection) async throws {
    let horizon = try await inspection.horizon()
    let last = try await inspection.size().lastPosition
    let holders = try await inspection.openAppends()
    let old = holders.filter { ($0.seconds ?? .infinity) > 1 }
    guard let oldest = old.first else {
      return report.pass("horizon", "at \(horizon), last position drawn \(last)")
    }
    let who =
      oldest.pid.map { "pid \($0) (\(oldest.user ?? "?"), \(oldest.application ?? "?"), \(oldest.state ?? "?"))" }
      ?? "a prepared transaction"
    let age = oldest.seconds.map { "for \(Int($0)) s" } ?? ""
    report.warn(
      "horizon", "held at \(oldest.position) \(age) by \(who): readers wait there; last position drawn \(last)",
      oldest.pid.map { "let it commit, or SELECT pg_terminate_backend(\($0))" }
        ?? "COMMIT PREPARED or ROLLBACK PREPARED it (see pg_prepared_xacts)")
  }
}

extension DoctorReport {
  /// What kept the doctor from looking further.
  fileprivate mutating func fail(_ error: any Error, schema: SchemaName) throws {
    let reason: PostgreSQLError
    switch error {
    case let error as PostgreSQLError: reason = error
    case OpenError.database(let error), OpenError.unavailable(let error): reason = error
    case ReadError.database(let error), ReadError.unavailable(let error): reason = error
    default: throw error
    }
    if reason.isUnavailable {
      fail("server", reason.description, "check EVENTSTORE_URL, and that the server runs")
    } else if reason.sqlState == "42501" {
      fail("privileges", reason.description, "GRANT \(schema)_reader, or \(schema)_writer, to the role")
    } else {
      fail("store", reason.description, "nothing after this was looked at")
    }
  }
}

/// What the doctor found.
struct DoctorReport {
  private enum Verdict: String { case ok, warning, failed }
  private struct Check {
    let name: String
    let verdict: Verdict
    let finding: String
    let advice: String?
  }
  private var checks: [Check] = []

  var hasFailures: Bool { checks.contains { $0.verdict == .failed } }

  mutating func pass(_ name: String, _ finding: String) {
    checks.append(Check(name: name, verdict: .ok, finding: finding, advice: nil))
  }

  mutating func warn(_ name: String, _ finding: String, _ advice: String?) {
    checks.append(Check(name: name, verdict: .warning, finding: finding, advice: advice))
  }

  mutating func fail(_ name: String, _ finding: String, _ advice: String?) {
    checks.append(Check(name: name, verdict: .failed, finding: finding, advice: advice))
  }

  mutating func add(_ name: String, _ isGood: Bool, _ good: String, _ bad: String) {
    isGood ? pass(name, good) : fail(name, bad, nil)
  }

  func print(json: Bool) {
    let output = StandardOutput()
    if json {
      return output.line(
        .object([
          ("ok", .boolean(!hasFailures)),
          (
            "checks",
            .array(
              checks.map {
                .object([
                  ("name", .string($0.name)), ("verdict", .string($0.verdict.rawValue)),
                  ("finding", .string($0.finding)), ("advice", .optional($0.advice)),
                ])
              })
          ),
        ]))
    }
    let width = checks.map(\.name.count).max() ?? 0
    for check in checks {
      let mark =
        switch check.verdict {
        case .ok: output.terminal.styled("ok  ", .green)
        case .warning: output.terminal.styled("warn", .yellow)
        case .failed: output.terminal.styled("FAIL", .red)
        }
      output.line("\(mark)  \(TextWidth.padded(check.name, to: width))  \(check.finding)")
      if let advice = check.advice { output.line(String(repeating: " ", count: width + 8) + "→ " + advice) }
    }
  }
}
