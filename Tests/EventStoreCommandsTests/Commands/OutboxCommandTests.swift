import Foundation
import TestSupport
import Testing

extension CommandLineTests {
  @Suite("esctl outbox", .database, .timeLimit(.minutes(15)))
  struct OutboxCommandTests {
    private func append(_ esctl: EsctlRunner, _ stream: String, _ count: Int) async throws {
      for number in 1...count {
        let output = try await esctl("append", stream, "--type", "item.made", "--data", "{\"n\":\(number)}")
        #expect(output.status == 0, "\(output.standardError)")
      }
    }

    private func lag(_ esctl: EsctlRunner, _ group: String) async throws -> [String: Any] {
      try #require(try await esctl("outbox", "lag", group, "--json").lines.first)
    }

    /// A handler: writes the event to a file; gives up version 2 of item-1, and fails once with version 1 of item-2.
    private func script(_ esctl: EsctlRunner) throws -> String {
      let file = esctl.folder.appendingPathComponent("handle.sh")
      try """
      line=$(cat)
      echo "$EVENTSTORE_KEY $EVENTSTORE_ATTEMPT ${EVENTSTORE_CAUSE:-order} $line" >> '\(esctl.folder.path)/got.txt'
      case "$line" in
        *'"stream":"item-1","version":2'*) exit 65 ;;
        *'"stream":"item-2","version":1'*) [ "$EVENTSTORE_ATTEMPT" = 1 ] && exit 1 ;;
      esac
      exit 0
      """.write(to: file, atomically: true, encoding: .utf8)
      return "sh \(file.path)"
    }

    private func got(_ esctl: EsctlRunner) throws -> [String] {
      let text = try String(contentsOf: esctl.folder.appendingPathComponent("got.txt"), encoding: .utf8)
      return text.split(separator: "\n").map(String.init)
    }

    @Test(
      "events that are appended later: made, shown, appended by two schedulers, cancelled; what is wrong is refused")
    func schedules() async throws {
      let esctl = try EsctlRunner(try TestDatabase.required)
      defer { esctl.remove() }
      func add(_ arguments: String...) async throws -> EsctlRunner.Output {
        try await esctl(
          ["outbox", "schedule", "add", "order-1", "--type", "order.reminded", "--data", "{\"n\":1}"] + arguments)
      }
      for _ in 0..<2 {
        let added = try await add("--at", "2020-01-01", "--name", "past", "--json")
        #expect(added.status == 0, "\(added.standardError)")
        #expect(try added.lines.first?["dueAt"] as? String == "2020-01-01T00:00:00Z")
      }
      #expect(try await add("--cron", "0 18 L * *", "--time-zone", "Europe/Prague", "--name", "month-end").status == 0)
      #expect(try await add("--in", "3600", "--name", "hour").status == 0)
      let listed = try await esctl("outbox", "schedule", "list", "--json").lines.compactMap { $0["name"] as? String }
      #expect(listed == ["past", "hour", "month-end"])
      let next = try await esctl("outbox", "schedule", "show", "month-end", "--json").lines.first?["next"] as? [String]
      #expect(next?.count == 5)
      #expect(try await esctl("doctor", "--json").standardOutput.contains("no scheduler runs"))

      async let one = esctl("outbox", "schedule", "run", "--once", "--json")
      async let other = esctl("outbox", "schedule", "run", "--once", "--json")
      let runs = try await [one, other]
      #expect(runs.allSatisfy { $0.status == 0 })
      #expect(try runs.flatMap { try $0.lines }.compactMap { $0["name"] as? String } == ["past"])
      // The same again: the event is there.
      #expect(try await add("--at", "2020-01-01", "--name", "past").status == 0)
      let again = try await esctl("outbox", "schedule", "run", "--once", "--json")
      #expect(try again.lines.first?["duplicate"] as? Bool == true)
      #expect(try await esctl("read", "order-1", "--json").lines.count == 1)

      #expect(try await esctl("outbox", "schedule", "cancel", "month-end").status == 0)
      #expect(try await esctl("outbox", "schedule", "cancel", "month-end").status == 4)
      let refused: [([String], Int32)] = [
        (["--cron", "0 0 30 2 *"], 65), (["--cron", "* * * *"], 64),
        (["--cron", "@daily", "--time-zone", "Nowhere"], 65),
        (["--at", "soon"], 64), (["--in", "5", "--time-zone", "UTC"], 64), ([], 64),
        (["--in", "5", "--name", "hour"], 3),
        (["--in", "nan"], 64), (["--cron", "@daily", "--missed", "none"], 64),
        (["--in", "5", "--metadata", "{\"schedule\":1}"], 65),
      ]
      for (arguments, status) in refused {
        let output = try await esctl(
          ["outbox", "schedule", "add", "order-1", "--type", "t", "--data", "{}"] + arguments)
        #expect(output.status == status, "\(arguments): \(output.standardError)")
      }
      #expect(
        try await esctl("outbox", "schedule", "list", "--json").lines.compactMap { $0["name"] as? String } == ["hour"])
    }

    @Test(
      "the whole life of a group by commands: made, consumed, dead letters retried and skipped, replayed, moved, removed"
    )
    func life() async throws {
      let esctl = try EsctlRunner(try TestDatabase.required)
      defer { esctl.remove() }
      try await append(esctl, "item-1", 3)
      try await append(esctl, "item-2", 2)
      try await append(esctl, "other-1", 1)
      let made = try await esctl(
        "outbox", "groups", "create", "mailer", "--category", "item", "--type", "item.*", "--retry", "0.05",
        "--attempts", "3",
        "--json")
      #expect(made.status == 0, "\(made.standardError)")
      #expect(try await lag(esctl, "mailer")["behind"] as? Int == 5)
      #expect(try await esctl("outbox", "peek", "mailer", "--limit", "2", "--json").lines.count == 2)
      let doctor = try await esctl("doctor", "--json")
      #expect(doctor.standardOutput.contains("it has no consumer"))

      let handler = try script(esctl)
      let consumed = try await esctl(
        "outbox", "consume", "mailer", "--exec", handler, "--until-empty", "--concurrency", "2")
      #expect(consumed.status == 0, "\(consumed.standardError)")
      let lines = try got(esctl)
      #expect(lines.count == 6)
      #expect(lines.filter { $0.hasPrefix("item-2") }.map { String($0.dropFirst(7).prefix(1)) } == ["1", "2", "1"])
      let state = try await lag(esctl, "mailer")
      #expect(state["behind"] as? Int == 0 && state["parked"] as? Int == 1 && state["handled"] as? Int == 5)

      let letter = try #require(try await esctl("outbox", "parked", "list", "mailer", "--json").lines.first)
      #expect(letter["stream"] as? String == "item-1" && letter["version"] as? Int == 2)
      let position = try #require(letter["position"] as? Int)
      let shown = try await esctl("outbox", "parked", "show", "mailer", "\(position)", "--json")
      let event = try #require(try shown.lines.first?["event"] as? [String: Any])
      #expect((event["data"] as? [String: Any])?["n"] as? Int == 2)
      let kinds = try await esctl("outbox", "parked", "fingerprints", "mailer", "--json").lines
      #expect(kinds.first?["count"] as? Int == 1)
      let dry = try await esctl("outbox", "parked", "retry", "mailer", "--all", "--dry-run", "--json")
      #expect(try dry.lines.first?["events"] as? Int == 1)
      #expect(try await esctl("outbox", "parked", "retry", "mailer", "--position", "\(position)").status == 0)
      #expect(try await esctl("outbox", "consume", "mailer", "--exec", handler, "--until-empty").status == 0)
      #expect(try got(esctl).last?.hasPrefix("item-1 1 redrive") == true)
      #expect(try await esctl("outbox", "parked", "skip", "mailer", "--all").status == 0)
      #expect(try await lag(esctl, "mailer")["parked"] as? Int == 0)

      #expect(try await esctl("outbox", "replay", "mailer", "--after", "0", "--up-to", "1").status == 0)
      let printed = try await esctl("outbox", "consume", "mailer", "--ack-all", "--until-empty").lines
      #expect(printed.count == 1 && printed[0]["cause"] as? String == "replay")

      #expect(try await esctl("outbox", "pause", "mailer").status == 0)
      #expect(try await lag(esctl, "mailer")["state"] as? String == "paused")
      #expect(try await esctl("outbox", "resume", "mailer").status == 0)
      #expect(try await esctl("outbox", "seek", "mailer", "--to", "beginning").status == 0)
      #expect(try await esctl("outbox", "groups", "update", "mailer", "--timeout", "30").status == 0)
      let definition = try #require(
        try await esctl("outbox", "groups", "show", "mailer", "--json").lines.first?["definition"] as? [String: Any])
      #expect((definition["policy"] as? [String: Any])?["timeout"] as? Double == 30)
      #expect(try await esctl("outbox", "consume", "mailer", "--ack-all", "--until-empty").lines.count == 5)
      let actions = try await esctl("outbox", "audit", "mailer", "--json").lines.compactMap { $0["action"] as? String }
      #expect(actions == ["update", "seek", "resume", "pause", "replay", "skip", "redrive"])
      #expect(try await esctl("outbox", "groups", "delete", "mailer").status == 64)
      #expect(try await esctl("outbox", "groups", "delete", "mailer", "--yes").status == 0)
      #expect(try await esctl("outbox", "groups", "list", "--json").lines.isEmpty)
    }

    @Test("refused with words and a documented exit code")
    func refused() async throws {
      var esctl = try EsctlRunner(try TestDatabase.required)
      defer { esctl.remove() }
      try await append(esctl, "item-1", 2)
      #expect(try await esctl("outbox", "groups", "create", "one").status == 0)
      let cases: [(arguments: [String], status: Int32, words: String)] = [
        (["groups", "create", "one"], 3, "already"),
        (["groups", "create", "two", "--attempts", "0"], 65, "attempts"),
        (["groups", "create", "two", "--delay=-1"], 65, "delay"),
        (["groups", "create", "two", "--timeout=-3"], 65, "timeout"),
        (["groups", "create", "two", "--retry", "soon"], 64, "--retry"),
        (["groups", "create", "two", "--key", "color"], 64, "--key"),
        (["groups", "create", "two", "--from", "yesterday-ish"], 64, "yesterday-ish"),
        (["groups", "create", "two", "--metadata", "x"], 64, "KEY=VALUE"),
        (["groups", "show", "none"], 4, "no consumer group"),
        (["consume", "none", "--ack-all"], 4, "no consumer group"),
        (["consume", "one", "--exec", "no-such-command-here"], 65, "cannot find"),
        (["seek", "one", "--to", "99999"], 65, "beyond the end"),
        (["parked", "retry", "one"], 64, "--all"),
        (["parked", "retry", "one", "--position", "1"], 4, "no dead letter"),
        (["parked", "purge", "one", "--older-than", "long"], 64, "--older-than"),
        (["replay", "one", "--after", "0", "--up-to", "1"], 65, "so far"),
      ]
      for (arguments, status, words) in cases {
        let output = try await esctl(["outbox"] + arguments)
        #expect(output.status == status, "\(arguments): \(output.standardError)")
        #expect(output.standardError.contains(words), "\(arguments): \(output.standardError)")
      }
      let note = try await esctl("outbox", "groups", "create", "nothing", "--type", "never.*")
      #expect(note.status == 0 && note.standardError.contains("no event in the log passes"))
      // 77: the group stops, and says so.
      let stopped = try await esctl("outbox", "consume", "one", "--exec", "exit 77", "--until-empty", "--json")
      #expect(stopped.status == 1 && stopped.standardError.contains("groupStopped"))
      #expect(try await lag(esctl, "one")["state"] as? String == "stopped")
      // A key that is not here is no event's fault.
      #expect(try await esctl("outbox", "resume", "one").status == 0)
      esctl.environment["EVENTSTORE_KEYRING"] = esctl.folder.appendingPathComponent("none").path
      let keyless = try await esctl("outbox", "consume", "one", "--exec", "cat", "--until-empty")
      #expect(keyless.status == 1 && keyless.standardError.contains("cannot be opened"))
    }

    @Test("events as JSON lines, answered on standard input")
    func answered() async throws {
      let esctl = try EsctlRunner(try TestDatabase.required)
      defer { esctl.remove() }
      try await append(esctl, "item-1", 3)
      #expect(try await esctl("outbox", "groups", "create", "one").status == 0)
      let done = try await esctl(
        ["outbox", "consume", "one", "--until-empty"],
        input: #"{"ack":1}"# + "\n" + #"{"park":2,"reason":"no"}"# + "\n" + #"{"skip":3}"# + "\n")
      #expect(done.status == 0, "\(done.standardError)")
      #expect(try done.lines.compactMap { $0["delivery"] as? Int } == [1, 2, 3])
      let state = try await lag(esctl, "one")
      #expect(state["handled"] as? Int == 3 && state["parked"] as? Int == 1)
      #expect(try await esctl("outbox", "seek", "one", "--to", "beginning").status == 0)
      let unanswered = try await esctl(["outbox", "consume", "one", "--until-empty"], input: #"{"ack":1}"# + "\n")
      #expect(unanswered.status == 1 && unanswered.standardError.contains("before everything was answered"))
      #expect(try await lag(esctl, "one")["handled"] as? Int == 4)
      let twice = try await esctl(
        ["outbox", "consume", "one", "--until-empty"], input: #"{"ack":1}"# + "\n" + "what\n")
      #expect(twice.status == 65 && twice.standardError.contains("expected a line such as"))
    }
  }
}
