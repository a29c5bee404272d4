internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Glibc
internal import Outbox
internal import Subprocess
internal import SystemPackage

struct OutboxConsume: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "consume", abstract: "Consume a group's events with a command, or as JSON lines.",
    discussion: """
      With --exec the command is run for each event, which it finds as JSON on standard input (the format of `read --json`), \
      and in EVENTSTORE_GROUP, EVENTSTORE_KEY, EVENTSTORE_ATTEMPT, EVENTSTORE_EPOCH, EVENTSTORE_CAUSE (timer, redrive or replay; not \
      set: its turn has come). Its exit code decides: 0 handled, \
      65 give it up at once, 75 or any other: try it again, 77 stop the group, 99 pass it over.

      Without --exec events are printed as JSON lines {"delivery", "attempt", "key", "cause", "event"}, and answered on standard input, \
      a line each: {"ack":N}, {"retry":N,"after":SECONDS,"reason":TEXT}, {"park":N,"reason":TEXT}, {"skip":N}; N is what \
      "delivery" says. --ack-all needs no answers: what is printed is handled.

      Any number of consumers share a group's work. Interrupted, it ends the commands that run and hands their events back.

      Examples:
        esctl outbox consume mailer --exec './mail.sh' --concurrency 4
        esctl outbox consume mailer --ack-all --until-empty | jq .event.type
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  @Option(help: ArgumentHelp("Run this by /bin/sh for each event.", valueName: "command"))
  var exec: String?

  @Flag(help: "Print events, and take them for handled once they are printed.")
  var ackAll = false

  @Flag(help: "End when everything that is in the log now is handled, given up or held.")
  var untilEmpty = false

  @Option(
    help: ArgumentHelp(
      """
      Events at a time, at most; of each key one. LEAST-MOST: as many as are worth it, found from how long they take. Default: 8 with \
      --exec.
      """, valueName: "count"))
  var concurrency: String?

  @Option(help: ArgumentHelp("How long a consumer that hangs keeps its shards.", valueName: "seconds"))
  var lease = 5.0

  func validate() throws {
    _ = try concurrencyRange
    guard (1...3600).contains(lease) else { throw ValidationError("--lease: expected 1 to 3600 seconds") }
    guard exec == nil || !ackAll else { throw ValidationError("give --exec or --ack-all, not both") }
  }

  private var concurrencyRange: ClosedRange<Int>? {
    get throws {
      guard let concurrency else { return nil }
      let ends = concurrency.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
      guard (1...2).contains(ends.count), ends.allSatisfy((1...10_000).contains), ends[0] <= ends[ends.count - 1] else {
        throw ValidationError("--concurrency \(concurrency): expected 1 to 10000, or two of these as 4-64")
      }
      return ends[0]...ends[ends.count - 1]
    }
  }

  func run() async throws {
    if let exec, try await !Self.isFound(exec) {
      throw CommandFailure(
        .badInput, "noSuchCommand", "--exec: /bin/sh cannot find the command in \(exec.debugDescription)")
    }
    var options = GroupConsumer.Options()
    if let range = try concurrencyRange {
      options.concurrency = range.upperBound
      if range.count > 1 { options.automaticConcurrency = range }
    } else if exec != nil {
      options.concurrency = 8
    }
    options.lease = .seconds(lease)
    options.endsWhenEmpty = untilEmpty
    options.endsWhenStopped = untilEmpty
    try await store.withLog(.read) { log in
      _ = try await ConsumerGroups(log).status(of: group.name)
      if let exec {
        let command = ConsumingCommand(command: exec)
        let consumer = GroupConsumer(log, group.name, options: options) { try await command.handle($0) }
        return try await StandardOutput.whileRead { try await consumer.run() }
      }
      let answers = ackAll ? nil : Answers()
      let printer = DeliveryPrinter(answers)
      let environment = CommandEnvironment.current
      let consumer = GroupConsumer(log, group.name, options: options) { await printer.handle($0) }
      try await StandardOutput.whileRead {
        try await CommandEnvironment.$current.withValue(environment) {
          try await withThrowingTaskGroup { tasks in
            tasks.addTask { try await consumer.run() }
            if let answers { tasks.addTask { [untilEmpty] in try await answers.read(untilEmpty: untilEmpty) } }
            // Whichever ends first: no more events, or nobody who answers.
            try await tasks.next()
            tasks.cancelAll()
          }
        }
      }
    }
  }

  /// Whether the shell finds the first word of a command: a slip is better said at once than for every event.
  private static func isFound(_ command: String) async throws -> Bool {
    let word = command.split(whereSeparator: \.isWhitespace).first.map(String.init) ?? ""
    // What is more than a word, the shell alone can tell.
    guard !word.isEmpty, word.allSatisfy({ $0.isLetter || $0.isNumber || "./_-+".contains($0) }) else {
      return !word.isEmpty
    }
    let result = try await Subprocess.run(
      .path("/bin/sh"), arguments: ["-c", "command -v \"$0\" >/dev/null 2>&1", word], output: .discarded,
      error: .discarded)
    return result.terminationStatus.isSuccess
  }
}

/// Runs a command for each event.
private struct ConsumingCommand: Sendable {
  let command: String

  func handle(_ delivery: Delivery) async throws -> Disposition {
    if case .failure(let error) = delivery.event.payload, error.code != "shredded" {
      // A key that is not here is no event's fault.
      return .stop(reason: "its payload cannot be opened: \(error)")
    }
    var line: [UInt8] = []
    EventJSON.append(delivery.event, to: &line)
    line.append(UInt8(ascii: "\n"))
    let environment: [Environment.Key: String?] = [
      "EVENTSTORE_GROUP": delivery.group, "EVENTSTORE_KEY": delivery.key, "EVENTSTORE_ATTEMPT": "\(delivery.attempt)",
      "EVENTSTORE_EPOCH": "\(delivery.epoch)",
      "EVENTSTORE_CAUSE": delivery.cause?.rawValue,
    ]
    // A group of its own: what the command has started ends with it.
    var platform = PlatformOptions()
    platform.processGroupID = 0
    platform.teardownSequence = [.gracefulShutDown(toProcessGroup: true, allowedDurationToNextStep: .seconds(1))]
    let result = try await Subprocess.run(
      .path("/bin/sh"), arguments: ["-c", command], environment: .inherit.updating(environment),
      platformOptions: platform, input: Lines(bytes: line),
      output: .fileDescriptor(.standardOutput, closeAfterSpawningProcess: false),
      error: .fileDescriptor(.standardError, closeAfterSpawningProcess: false))
    // Ended by us, because its time was over or this program is to end.
    if Task.isCancelled, result.terminationStatus != .exited(0) { throw CancellationError() }
    // Its output is ours: it may have ended because nobody reads that any more, and so shall we.
    if result.terminationStatus != .exited(0), StandardOutput.isReaderGone { return .throttle(after: 1) }
    switch result.terminationStatus {
    case .exited(0): return .ack
    case .exited(65): return .park(reason: "the command ended with exit code 65")
    case .exited(77): return .stop(reason: "the command ended with exit code 77")
    case .exited(99): return .skip
    case .exited(let code): return .retry(reason: "the command ended with exit code \(code)")
    default: return .retry(reason: "the command: \(result.terminationStatus.words)")
    }
  }
}

/// Prints deliveries, and waits for what is said to them.
private actor DeliveryPrinter {
  private let answers: Answers?
  private let output = StandardOutput()
  private var last = 0

  init(_ answers: Answers?) { self.answers = answers }

  func handle(_ delivery: Delivery) async -> Disposition {
    last += 1
    let number = last
    // Before it is printed: the answer may be quick.
    await answers?.expect(number)
    var event: [UInt8] = []
    EventJSON.append(delivery.event, to: &event)
    output.line(
      .object([
        ("delivery", .integer(number)), ("attempt", .integer(delivery.attempt)), ("key", .string(delivery.key)),
        ("cause", .optional(delivery.cause?.rawValue)), ("event", .raw(event)),
      ]))
    output.flush()
    if StandardOutput.isLost { return .throttle(after: 1) }
    return await answers?.answer(to: number) ?? .ack
  }
}

/// What is said on standard input.
private actor Answers {
  private var waiting: [Int: CheckedContinuation<Disposition, Never>] = [:]
  /// Said before they were asked for.
  private var early: [Int: Disposition] = [:]
  private var last = 0
  /// Given out and not answered.
  private var open: Set<Int> = []
  /// What is said of these comes too late, and is nobody's fault.
  private var takenBack: Set<Int> = []
  private var isOver = false

  func expect(_ number: Int) {
    last = max(last, number)
    open.insert(number)
  }

  func answer(to number: Int) async -> Disposition {
    if let disposition = early.removeValue(forKey: number) {
      open.remove(number)
      return disposition
    }
    guard !isOver else { return .throttle(after: 1) }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { waiting[number] = $0 }
    } onCancel: {
      Task { await self.giveUp(number) }
    }
  }

  private func giveUp(_ number: Int) {
    guard let continuation = waiting.removeValue(forKey: number) else { return }
    open.remove(number)
    takenBack.insert(number)
    continuation.resume(returning: .throttle(after: 0.001))
  }

  private struct Answer: Decodable {
    var ack: Int?
    var retry: Int?
    var park: Int?
    var skip: Int?
    var after: Double?
    var reason: String?
  }

  /// Returns when no more is said. With `untilEmpty` it does not: a delivery that waits for an answer then is an error, and
  /// without any the consumer comes to its end by itself.
  nonisolated func read(untilEmpty: Bool) async throws {
    defer { Task { await self.end() } }
    var lines = ArrivingLines()
    try await read(&lines)
    while await hasEarly { try await Task.sleep(for: .milliseconds(10)) }
    guard untilEmpty else { return }
    while await !hasOpen { try await Task.sleep(for: .milliseconds(10)) }
    throw CommandFailure(
      .failed, "unanswered", "standard input ended before everything was answered: the rest is delivered again")
  }

  private var hasEarly: Bool { !early.isEmpty }
  private var hasOpen: Bool { !open.isEmpty }

  private nonisolated func read(_ lines: inout ArrivingLines) async throws {
    while let line = try await lines.next() {
      guard !line.isEmpty else { continue }
      let answer: Answer
      do {
        answer = try JSONDecoder().decode(Answer.self, from: Data(line))
      } catch {
        throw CommandFailure(
          .badInput, "badAnswer", "standard input: expected a line such as {\"ack\":1}")
      }
      if let number = answer.ack { try await say(number, .ack) }
      if let number = answer.skip { try await say(number, .skip) }
      if let number = answer.park { try await say(number, .park(reason: answer.reason ?? "no reason was given")) }
      if let number = answer.retry {
        try await say(number, .retry(after: answer.after, reason: answer.reason ?? "no reason was given"))
      }
    }
  }

  private func say(_ number: Int, _ disposition: Disposition) throws {
    guard takenBack.remove(number) == nil else { return }
    guard open.remove(number) != nil || (number > last && number <= last + 100_000) else {
      throw CommandFailure(
        .badInput, "badAnswer", "standard input: there is no delivery \(number) that waits for an answer")
    }
    guard let continuation = waiting.removeValue(forKey: number) else {
      early[number] = disposition
      return
    }
    continuation.resume(returning: disposition)
  }

  private func end() {
    isOver = true
    for continuation in waiting.values { continuation.resume(returning: .throttle(after: 0.001)) }
    waiting = [:]
  }
}
