internal import ArgumentParser
internal import EventStore
internal import Outbox

struct OutboxReplay: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay", abstract: "Give a group a part of the log once more, beside what it does else.",
    discussion: """
      The events come with the cause "replay" (EVENTSTORE_CAUSE, "cause"), never beside another event of their key. The group's \
      place stays as it is; `seek` moves it.

      Examples:
        esctl outbox replay mailer --after 1000 --up-to 2000 --dry-run
        esctl outbox replay mailer --after 1000 --up-to 2000
      """)
  @OptionGroup var store: StoreOptions
  @OptionGroup var group: GroupArgument

  @Option(help: ArgumentHelp("Events after this position …", valueName: "position"))
  var after: String

  @Option(help: ArgumentHelp("… up to this one.", valueName: "position"))
  var upTo: String

  @Flag(help: "Say how many, and do nothing.")
  var dryRun = false

  func validate() throws {
    for (name, position) in [("--after", after), ("--up-to", upTo)] where Position(position) == nil {
      throw ValidationError("\(name) \(position): expected a position, a number from 0")
    }
  }

  func run() async throws {
    // To find the keys, payloads need not be opened.
    try await store.withLog(.inspect) { log in
      let count = try await ConsumerGroups(log).replay(
        group.name, after: Position(after) ?? .start, upTo: Position(upTo) ?? .start, isDryRun: dryRun)
      let output = StandardOutput()
      output.line(
        .object([
          ("name", .string(group.name)), ("done", .string(dryRun ? "dryRun" : "replay")), ("events", .integer(count)),
        ]),
        or:
          "\(group.name): \(Quantity.count(count, "event")) \(dryRun ? "would come" : count == 1 ? "comes" : "come") once more",
        json: store.json)
      output.flush()
    }
  }
}
