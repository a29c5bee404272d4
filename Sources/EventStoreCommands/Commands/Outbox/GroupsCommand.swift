internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Outbox

struct GroupsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "groups", abstract: "Make, change, show and remove consumer groups.",
    discussion: """
      Examples:
        esctl outbox groups create mailer --category account
        esctl outbox groups update mailer --attempts 20 \\
          --after-last-retry park-and-hold
        esctl outbox groups list
      """,
    subcommands: [GroupsCreate.self, GroupsUpdate.self, GroupsList.self, GroupsShow.self, GroupsDelete.self])
}

/// A group's policy, as options: what is not given stays as it is.
struct PolicyOptions: ParsableArguments {
  @Option(help: ArgumentHelp("How often an event is tried, the first time included. Default: 8.", valueName: "count"))
  var attempts: Int?

  @Option(
    help: ArgumentHelp(
      """
      Seconds until an event that failed is tried again: one number; several with commas, one after the other; or \
      exponential:FIRST:FACTOR:MOST. Default: exponential:0.5:2:300.
      """, valueName: "delays"))
  var retry: String?

  @Option(help: ArgumentHelp("No further try so long after the first failure.", valueName: "seconds"))
  var deadline: Double?

  @Option(help: ArgumentHelp("After the last try: park, park-and-hold or stop. Default: park.", valueName: "what"))
  var afterLastRetry: String?

  @Option(help: ArgumentHelp("How long a handler may take; 0: as long as it likes. Default: 0.", valueName: "seconds"))
  var timeout: Double?

  @Option(help: ArgumentHelp("Deliver every event so long after it was recorded.", valueName: "seconds"))
  var delay: Double?

  @Option(help: ArgumentHelp("Pass over events that have waited so long; 0: never.", valueName: "seconds"))
  var expiry: Double?

  @Option(help: ArgumentHelp("At most so many events a second, of the whole group; 0: any.", valueName: "events"))
  var rate: Double?

  @Option(help: ArgumentHelp("At most so many events a second of each key; 0: any.", valueName: "events"))
  var ratePerKey: Double?

  @Option(
    help: ArgumentHelp(
      """
      Events whose metadata say deliverAfter, a time that has not come: hold (later ones of their key wait, too), pass (they do \
      not) or off. Default: off.
      """, valueName: "what"))
  var deliverAfter: String?

  @Flag(inversion: .prefixedNo, help: "Of the events of a key that wait, deliver only the latest.")
  var conflate: Bool?

  @Option(
    name: .customLong("priority"),
    help: ArgumentHelp(
      """
      Events that come before others: type:PATTERN or metadata:KEY=VALUE; the most urgent first. May be given more than once; \
      none takes them away.
      """, valueName: "rule"))
  var priorities: [String] = []

  @Option(
    help: ArgumentHelp(
      "What has waited so long for more urgent events comes before them. Default: 2.", valueName: "seconds"))
  var ageing: Double?

  @Option(
    help: ArgumentHelp(
      "A consumer rests when so many tries in a row have failed: FAILURES:SECONDS, or off. Default: 20:5.",
      valueName: "breaker"))
  var breaker: String?

  func validate() throws { _ = try applied(to: GroupPolicy()) }

  func applied(to old: GroupPolicy) throws -> GroupPolicy {
    var policy = old
    if let attempts { policy.retry.attempts = attempts }
    if let retry { policy.retry.delays = try Self.delays(retry) }
    if let deadline { policy.retry.deadline = deadline == 0 ? nil : deadline }
    if let afterLastRetry {
      guard let what = GroupPolicy.AfterLastRetry(rawValue: afterLastRetry) else {
        throw ValidationError("--after-last-retry \(afterLastRetry): expected park, park-and-hold or stop")
      }
      policy.afterLastRetry = what
    }
    if let timeout { policy.timeout = timeout == 0 ? nil : timeout }
    if let delay { policy.delay = delay }
    if let expiry { policy.expiry = expiry == 0 ? nil : expiry }
    if let rate { policy.rate = rate == 0 ? nil : rate }
    if let ratePerKey { policy.ratePerKey = ratePerKey == 0 ? nil : ratePerKey }
    if let breaker { policy.breaker = try Self.breaker(breaker) }
    if let deliverAfter {
      policy.timers = GroupPolicy.TimerPolicy(rawValue: deliverAfter)
      guard policy.timers != nil || deliverAfter == "off" else {
        throw ValidationError("--deliver-after \(deliverAfter): expected hold, pass or off")
      }
    }
    if let conflate { policy.conflates = conflate }
    if !priorities.isEmpty { policy.priorities = priorities == ["none"] ? [] : try priorities.map(Self.priority) }
    if let ageing { policy.ageing = ageing }
    return policy
  }

  private static func delays(_ text: String) throws -> RetryPolicy.Delays {
    if text.hasPrefix("exponential:") {
      let parts = text.split(separator: ":").dropFirst().map { Double($0) }
      if parts.count == 3, let first = parts[0], let factor = parts[1], let most = parts[2] {
        return .exponential(first: first, factor: factor, most: most)
      }
    } else {
      let delays = text.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) }
      let known = delays.compactMap { $0 }
      if known.count == delays.count { return known.count == 1 ? .fixed(known[0]) : .list(known) }
    }
    throw ValidationError("--retry \(text): expected seconds, such as 5, 1,5,30 or exponential:0.5:2:300")
  }

  private static func priority(_ text: String) throws -> PriorityRule {
    if text.hasPrefix("type:"), text.utf8.count > 5 { return PriorityRule(types: [String(text.dropFirst(5))]) }
    if text.hasPrefix("metadata:") {
      let parts = text.dropFirst(9).split(separator: "=", maxSplits: 1).map(String.init)
      if parts.count == 2 { return PriorityRule(metadata: [parts[0]: [parts[1]]]) }
    }
    throw ValidationError("--priority \(text): expected type:PATTERN or metadata:KEY=VALUE")
  }

  private static func breaker(_ text: String) throws -> CircuitBreaker? {
    if text == "off" { return nil }
    let parts = text.split(separator: ":")
    guard parts.count == 2, let failures = Int(parts[0]), let pause = Double(parts[1]) else {
      throw ValidationError("--breaker \(text): expected FAILURES:SECONDS, such as 20:5, or off")
    }
    return CircuitBreaker(failures: failures, pause: pause)
  }
}

struct GroupsCreate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Make a consumer group.",
    discussion: """
      Examples:
        esctl outbox groups create mailer --category account --type 'account.*'
        esctl outbox groups create billing --key metadata:customerId --from end
        esctl outbox groups create search --key none --attempts 20 --retry 1,5,30,300
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument
  @OptionGroup var policy: PolicyOptions

  @Option(name: .customLong("category"), help: "Only events of this category. May be given more than once.")
  var categories: [String] = []

  @Option(
    name: .customLong("type"),
    help: "Only events of this type; * stands for any characters. May be given more than once.")
  var types: [String] = []

  @Option(
    name: .customLong("metadata"),
    help: ArgumentHelp(
      "Only events whose metadata have this; several values of one key: one of them.", valueName: "key=value"))
  var metadata: [String] = []

  @Option(
    help: ArgumentHelp(
      "What must stay in order: stream, metadata:FIELD, or none. Default: stream.", valueName: "key"))
  var key = "stream"

  @Option(
    help: ArgumentHelp("Where to begin: beginning, end, a position, or a time. Default: beginning.", valueName: "place")
  )
  var from = "beginning"

  func validate() throws {
    _ = try GroupStart(argument: from)
    _ = try filter
    guard PartitionKey(key) != nil else {
      throw ValidationError("--key \(key): expected stream, none or metadata:FIELD")
    }
  }

  private var filter: GroupFilter {
    get throws {
      var filter = GroupFilter(categories: categories, types: types)
      for text in metadata {
        guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
          throw ValidationError("--metadata \(text): expected KEY=VALUE")
        }
        filter.metadata[String(text[..<equals]), default: []].append(String(text[text.index(after: equals)...]))
      }
      return filter
    }
  }

  func run() async throws {
    let made = ConsumerGroup(
      group.name, filter: try filter, key: PartitionKey(key) ?? .stream, policy: try policy.applied(to: GroupPolicy()))
    try await store.withLog(.maintain) { log in
      let status = try await ConsumerGroups(log).create(made, from: try GroupStart(argument: from))
      let output = StandardOutput()
      output.line(
        .object([("name", .string(made.name)), ("position", .position(status.position))]),
        or: "\(made.name): begins after position \(status.position) (`esctl outbox consume \(made.name)` consumes it)",
        json: store.json)
      output.flush()
      // No mistake, perhaps: but a filter that nothing passes is worth a word.
      let first = try await ConsumerGroups(log).firstEvent(of: made)
      if first == nil, try await ConsumerGroups(log).logHasEvents {
        store.notice("note: no event in the log passes the filter of \(made.name) yet")
      }
    }
  }
}

struct GroupsUpdate: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "update", abstract: "Change a group's policy. Its consumers go by it within a second or two.",
    discussion: """
      What is not given stays as it is, whatever the defaults say. A group's filter and key stay: make a new group instead.

      Examples:
        esctl outbox groups update mailer --timeout 30 --rate 100
        esctl outbox groups update mailer --rate 0
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument
  @OptionGroup var policy: PolicyOptions

  func run() async throws {
    try await store.operate(on: group.name, "updated", "updated") { groups in
      let status = try await groups.status(of: group.name)
      try await groups.update(group.name, try policy.applied(to: status.group.policy))
    }
  }
}

struct GroupsList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "The consumer groups of the store.",
    discussion: "Example:\n  esctl outbox groups list --json")
  @OptionGroup var store: StoreOptions

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let store = store
      try await store.show(every: nil) { try await OutboxLag.print(ConsumerGroups(log), nil, store.json, $0) }
    }
  }
}

struct GroupsShow: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show", abstract: "One group: its filter, key and policy, and how it is.",
    discussion: "Example:\n  esctl outbox groups show mailer")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  func run() async throws {
    try await store.withLog(.inspect) { log in
      let groups = ConsumerGroups(log)
      let status = try await groups.status(of: group.name)
      let line = GroupLine(status: status, lag: try await groups.lag(of: status))
      let obstacles = try await groups.obstacles(of: status)
      let definition = String(decoding: try JSONEncoder().encode(status.group), as: UTF8.self)
      let output = StandardOutput()
      if store.json {
        output.line(
          .object(
            line.json + [
              ("definition", .raw(Array(definition.utf8))),
              ("obstacles", .array(obstacles.map { .string($0.finding) })),
            ]))
        return output.flush()
      }
      let (filter, policy) = (status.group.filter, status.group.policy)
      output.line(output.terminal.styled(status.group.name, .bold))
      output.line("state      \(status.state.rawValue)")
      if let failure = status.failure { output.line("stopped    \(failure)") }
      output.line(
        "position   \(status.position) of \(line.lag.end), \(line.behind) event\(line.lag.events == 1 ? "" : "s") behind"
      )
      output.line(
        "keys       \(status.keysBehind) behind, of them \(status.keysHeld) held; \(status.parked) dead letters")
      output.line("members    \(status.members)")
      output.line(
        "events     "
          + (filter.categories.isEmpty ? "of all categories" : "of \(filter.categories.joined(separator: ", "))")
          + (filter.types.isEmpty ? "" : ", types \(filter.types.joined(separator: ", "))")
          + filter.metadata.sorted { $0.key < $1.key }.map {
            ", \($0.key) \($0.value.joined(separator: " or "))"
          }.joined())
      output.line("in order   by \(status.group.key)")
      output.line("retry      \(Self.words(policy))")
      if let timeout = policy.timeout { output.line("timeout    \(timeout) s") }
      if policy.delay > 0 { output.line("delay      \(policy.delay) s") }
      if let expiry = policy.expiry { output.line("expiry     \(expiry) s") }
      if let rate = policy.rate { output.line("rate       \(rate) events/s") }
      if let rate = policy.ratePerKey { output.line("           \(rate) events/s of each key") }
      if let timers = policy.timers { output.line("timers     deliverAfter: \(timers.rawValue)") }
      if policy.conflates { output.line("conflates  only the latest of a key that waits") }
      for rule in policy.priorities {
        let words =
          rule.types + rule.metadata.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value.joined(separator: "|"))" }
        output.line("urgent     \(words.joined(separator: ", "))")
      }
      if let breaker = policy.breaker {
        output.line("breaker    after \(breaker.failures) failures in a row, for \(breaker.pause) s")
      }
      output.line("made       \(Timestamp.text(status.createdAt))")
      for obstacle in obstacles {
        output.line("")
        output.line("\(output.terminal.styled("note", .yellow))  \(obstacle.finding)")
        output.line("      → \(obstacle.advice(group.name))")
      }
      output.flush()
    }
  }

  private static func words(_ policy: GroupPolicy) -> String {
    let delays =
      switch policy.retry.delays {
      case .fixed(let delay): "after \(delay) s"
      case .exponential(let first, let factor, let most):
        "after \(first) s, \(factor) times longer each, at most \(most) s"
      case .list(let delays): "after " + delays.map { "\($0)" }.joined(separator: ", ") + " s"
      }
    let deadline = policy.retry.deadline.map { ", for \($0) s" } ?? ""
    return "\(delays); \(policy.retry.attempts) tries\(deadline), then \(policy.afterLastRetry.rawValue)"
  }
}

struct GroupsDelete: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Remove a group, with its dead letters. The log is not touched.",
    discussion: "Example:\n  esctl outbox groups delete mailer --yes")
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  @Flag(help: "Where it is, is forgotten: there is no way back.")
  var yes = false

  func validate() throws {
    guard yes else {
      throw ValidationError("where \(group.name) is, and its dead letters, would be forgotten: say --yes")
    }
  }

  func run() async throws {
    try await store.operate(on: group.name, "deleted", "deleted") { try await $0.delete(group.name) }
  }
}
