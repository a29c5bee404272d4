internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Projections

struct Append: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Append one event to a stream.",
    discussion: """
      Examples:
        esctl append account-42 --type account.opened --expect none \\
          --data '{"owner":"Ada"}'
        echo '{"amount":"12.50"}' |
          esctl append account-42 --type account.deposited --data - --expect 1
      """)
  @OptionGroup var store: StoreOptions

  @OptionGroup var given: EventOptions

  @Option(help: ArgumentHelp("any, none, exists, or the version that the stream must have.", valueName: "version"))
  var expect = "any"

  func validate() throws { _ = try expectedVersion() }

  private func expectedVersion() throws -> ExpectedVersion {
    switch expect {
    case "any": return .any
    case "none": return .noStream
    case "exists": return .streamExists
    default:
      guard let version = Int(expect), version >= 0 else {
        throw ValidationError("--expect \(expect): expected any, none, exists or a version number")
      }
      return .exact(version)
    }
  }

  func run() async throws {
    let (stream, event) = (try given.streamName, try given.event())
    let expected = try expectedVersion()
    let appended = try await store.withLog(.write) { log in
      let environment = CommandEnvironment.current
      return try await InlineLog(log, environment.projections, codec: environment.codec)
        .append([event], to: stream, expecting: expected)
    }
    let output = StandardOutput()
    if store.json {
      output.line(
        .object([
          ("stream", .string(appended.stream.description)), ("version", .integer(appended.version)),
          ("positions", .array(appended.positions.map { .raw(Array($0.description.utf8)) })),
          ("ids", .array([.string(event.id.uuidString.lowercased())])),
          ("duplicate", .boolean(appended.wasDuplicate)),
        ]))
    } else {
      output.line(
        "\(appended.stream) is at version \(appended.version), position \(appended.positions.last.map(\.description) ?? "")"
          + (appended.wasDuplicate ? " (this event was there already)" : ""))
    }
    output.flush()
    do {
      try StandardOutput.checkArrival()
    } catch var failure as CommandFailure {
      // Or whoever tries again appends it twice.
      failure.description += "; the event was appended: \(appended.stream) is at version \(appended.version)"
      throw failure
    }
  }
}
