internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import PostgreSQL
internal import Synchronization

struct Demo: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "The main job, end to end, with every figure checked.",
    discussion: """
      Eight writers append sealed events to many streams while a subscriber follows; then streams and a category are \
      read, aggregates loaded by way of snapshots, replayed at versions and times, the whole log folded into a read \
      model, and that model run, rebuilt in a second version beside the first, compared and switched, while others read \
      and append: all compared with what the writers know. Works in a schema of its own (esctl_demo), made anew at each run.

      Example:
        esctl demo
      """)
  @OptionGroup var store: StoreOptions

  @Option(help: "How many events to append.")
  var events = 100_000

  func validate() throws {
    guard (1_000...10_000_000).contains(events) else { throw ValidationError("--events: expected 1000 to 10000000") }
  }

  func run() async throws {
    let connection = try await store.readyConnection()
    let keyring = try await store.masterKeysForWriting(connection, isBeside: true)
    let scratch = try await ScratchStore.make(named: "esctl_demo", connection, keyring: keyring)
    let run = DemoRun(events: events, store: store)
    let checks = try await PostgreSQLEventLog.withLog(scratch.configuration) { try await run.run($0) }
    scratch.release()
    let output = StandardOutput()
    if store.json {
      output.line(
        .object([
          ("ok", .boolean(checks.allSatisfy(\.isRight))),
          (
            "checks",
            .array(
              checks.map {
                .object([("name", .string($0.name)), ("figure", .string($0.figure)), ("ok", .boolean($0.isRight))])
              })
          ),
        ]))
    } else {
      for check in checks {
        let mark =
          check.isRight ? output.terminal.styled("ok  ", .green) : output.terminal.styled("WRONG", .red)
        output.line("\(mark)  \(check.name): \(check.figure)")
      }
      // As it was called: it need not be on the PATH.
      let esctl = CommandLine.arguments.first ?? "esctl"
      output.line(
        """

        Try next:
          \(esctl) streams --schema esctl_demo --limit 5
          \(esctl) history account-7 --schema esctl_demo
          \(esctl) replay account-7 --at-version 20 --schema esctl_demo
          \(esctl) snapshots list --limit 5 --schema esctl_demo
          \(esctl) projections list --schema esctl_demo
          \(esctl) projections compare balance --previous --schema esctl_demo
          \(esctl) outbox groups show demo --schema esctl_demo
          \(esctl) log --schema esctl_demo --follow
          \(esctl) append account-1 --type account.opened --data '{"owner":"Ada"}' --expect none
          \(esctl) doctor
        """)
    }
    output.flush()
    guard checks.allSatisfy(\.isRight) else { throw ExitCode(ExitStatus.failed.rawValue) }
  }
}

/// A figure of the demo, and whether an independent computation agrees.
struct DemoCheck: Sendable {
  let name: String
  let figure: String
  let isRight: Bool
}

/// What the demo does. The writers keep their own books in memory, in cents; at the end the log must agree with them.
struct DemoRun {
  let events: Int
  let store: StoreOptions

  private static let writers = 8
  private static let accounts = 400
  /// Stands in every payload: it must be nowhere in the database.
  private static let marker = "demo-owner-in-clear"

  /// One writer's books: what it was told is in the log.
  private struct Books: Sendable {
    var balances: [StreamName: Int] = [:]
    var versions: [StreamName: Int] = [:]
    var appended = 0
  }

  private struct Seen: Sendable {
    var count = 0
    var ascending = true
    var last = Position.start
    var versions: [StreamName: Int] = [:]
    var gapless = true
    var slowest = Duration.zero
  }

  private final class Observations: Sendable {
    let seen = Mutex(Seen())
  }

  func run(_ log: PostgreSQLEventLog) async throws -> [DemoCheck] {
    var checks: [DemoCheck] = []
    let observations = Observations()
    let bar = store.progressBar("append", total: events, unit: .count("events"))
    let start = ContinuousClock.now
    let (books, elapsed) = try await withThrowingTaskGroup(of: Void.self) { subscriber in
      subscriber.addTask { try await follow(log, until: events, observations) }
      let books = try await write(log, bar)
      let elapsed = start.duration(to: .now)
      bar.finish()
      try await subscriber.waitForAll()
      return (books, elapsed)
    }
    let appended = books.reduce(0) { $0 + $1.appended }
    let rate = Int(Double(appended) / (elapsed / .seconds(1)))
    checks.append(
      DemoCheck(
        name: "\(Self.writers) writers appended",
        figure: "\(Quantity.count(appended)) sealed events to \(Self.accounts) streams, \(Quantity.count(rate))/s",
        isRight: appended == events))
    checks.append(try await conflict(log, books))
    checks.append(followed(observations))
    checks += try await readBack(log, books)
    checks += try await DemoReplay(log: log, books: expected(books), store: store).run()
    checks.append(try await sealed(log))
    checks += try await DemoProjections(log: log, books: expected(books), store: store).run()
    checks += try await DemoOutbox(log: log, books: expected(books), store: store).run()
    return checks
  }

  /// Each writer has accounts of its own and appends 1 to 8 events at a time, at exact versions.
  private func write(_ log: PostgreSQLEventLog, _ bar: ProgressBar) async throws -> [Books] {
    try await withThrowingTaskGroup(of: Books.self) { group in
      for writer in 0..<Self.writers {
        let share = events / Self.writers + (writer < events % Self.writers ? 1 : 0)
        group.addTask {
          var books = Books()
          var random = SystemRandomNumberGenerator()
          let accounts = try (0..<Self.accounts).filter { $0 % Self.writers == writer }
            .map { try StreamName(category: "account", id: String($0)) }
          while books.appended < share {
            let account = accounts[Int.random(in: accounts.indices, using: &random)]
            let version = books.versions[account] ?? 0
            let count = min(Int.random(in: 1...8, using: &random), share - books.appended)
            var balance = books.balances[account] ?? 0
            let events = (0..<count).map { _ in
              let cents = Int.random(in: -5_000...10_000, using: &random)
              balance += cents
              return EventData(
                type: cents < 0 ? "account.withdrawn" : "account.deposited",
                payload: .json(
                  "{\"cents\":\"\(cents)\",\"owner\":\"\(Self.marker)\",\"memo\":\"\(account) \(version)\"}"),
                metadata: Metadata(correlationID: "demo-\(writer)"))
            }
            let result = try await log.append(events, to: account, expecting: .exact(version))
            books.versions[account] = result.version
            books.balances[account] = balance
            books.appended += count
            bar.advance(by: count)
          }
          return books
        }
      }
      var all: [Books] = []
      for try await books in group { all.append(books) }
      return all
    }
  }

  private func follow(_ log: PostgreSQLEventLog, until count: Int, _ observations: Observations) async throws {
    for try await page in log.subscribe().pages {
      let now = Date.now
      let isDone = observations.seen.withLock { seen in
        for event in page {
          seen.count += 1
          seen.ascending = seen.ascending && event.position > seen.last
          seen.last = event.position
          seen.gapless = seen.gapless && event.version == seen.versions[event.stream, default: 0] + 1
          seen.versions[event.stream] = event.version
          let lag = Duration.seconds(now.timeIntervalSince(event.recordedAt))
          seen.slowest = max(seen.slowest, lag)
        }
        return seen.count >= count
      }
      if isDone { return }
    }
  }

  private func conflict(_ log: PostgreSQLEventLog, _ books: [Books]) async throws -> DemoCheck {
    guard let (account, version) = books[0].versions.max(by: { $0.value < $1.value }) else {
      return DemoCheck(name: "a stale writer", figure: "nothing was written", isRight: false)
    }
    do throws(AppendError) {
      try await log.append(
        [EventData(type: "account.deposited", payload: .json("{}"))], to: account, expecting: .exact(version - 1))
    } catch {
      guard case .conflict(let conflict) = error else { throw error }
      let after = try await log.version(of: account)
      return DemoCheck(
        name: "a stale writer was refused", figure: conflict.description,
        isRight: conflict.actual == version && after == version)
    }
    return DemoCheck(name: "a stale writer", figure: "was not refused", isRight: false)
  }

  private func followed(_ observations: Observations) -> DemoCheck {
    observations.seen.withLock { seen in
      DemoCheck(
        name: "a live subscriber saw",
        figure: "\(Quantity.count(seen.count)) events, each once, in order, at most "
          + "\(Quantity.duration(seen.slowest)) late",
        isRight: seen.count == events && seen.ascending && seen.gapless)
    }
  }

  private func expected(_ books: [Books]) -> [StreamName: (version: Int, balance: Int)] {
    var expected: [StreamName: (version: Int, balance: Int)] = [:]
    for book in books {
      for (account, version) in book.versions { expected[account] = (version, book.balances[account] ?? 0) }
    }
    return expected
  }

  private func readBack(_ log: PostgreSQLEventLog, _ books: [Books]) async throws -> [DemoCheck] {
    let expected = expected(books)
    var right = 0
    let bar = store.progressBar("read", total: expected.count, unit: .count("streams"))
    for (account, known) in expected {
      var balance = 0
      var version = 0
      for try await event in log.read(account) {
        version += 1
        if event.version != version { break }
        balance += try Self.cents(event)
      }
      if version == known.version, balance == known.balance { right += 1 }
      bar.advance()
    }
    bar.finish()
    var total = 0
    var count = 0
    let start = ContinuousClock.now
    for try await page in log.readAll(after: .start, where: .category("account")).pages {
      for event in page { total += try Self.cents(event) }
      count += page.count
    }
    let rate = Int(Double(count) / (start.duration(to: .now) / .seconds(1)))
    let sum = expected.values.reduce(0) { $0 + $1.balance }
    return [
      DemoCheck(
        name: "read by stream", figure: "\(right) of \(expected.count) balances and versions as the writers know them",
        isRight: right == expected.count),
      DemoCheck(
        name: "read by category",
        figure:
          "\(Quantity.count(count)) events, opened, \(Quantity.count(rate))/s; they sum up to \(Self.money(total))",
        isRight: count == events && total == sum),
    ]
  }

  private func sealed(_ log: PostgreSQLEventLog) async throws -> DemoCheck {
    let found = try await StoreInspection(log).events(containing: Array(Self.marker.utf8))
    return DemoCheck(
      name: "sealed", figure: "the payloads' text is in \(found) of the stored rows", isRight: found == 0)
  }

  static func cents(_ event: RecordedEvent) throws -> Int {
    let bytes = try event.payload.get().bytes
    guard let member = try JSONText.topLevelMembers(of: bytes).first(where: { $0.key == "cents" }),
      let cents = Int(try bytes[member.value].withUnsafeBytes { try JSONText.string($0) })
    else { throw CommandFailure(.failed, "demo", "event \(event.id) has no amount") }
    return cents
  }

  private static func money(_ cents: Int) -> String {
    let rest = abs(cents % 100)
    return "\(cents < 0 && cents > -100 ? "-" : "")\(cents / 100).\(rest < 10 ? "0" : "")\(rest)"
  }
}
