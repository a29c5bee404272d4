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

  @Argument(help: "The stream, as category-id.")
  var stream: String

  @Option(help: "The event type.")
  var type: String

  @Option(help: ArgumentHelp("The payload as JSON, or - to read it from standard input.", valueName: "json"))
  var data: String

  @Option(help: ArgumentHelp("any, none, exists, or the version that the stream must have.", valueName: "version"))
  var expect = "any"

  @Option(
    help: ArgumentHelp("The event's id: give the same one to try again safely. Default: a new one.", valueName: "uuid"))
  var id: String?

  @Option(help: ArgumentHelp("A JSON object; stored in the clear.", valueName: "json"))
  var metadata: String?

  @Option(help: "The version of the payload's shape.")
  var schemaVersion = 1

  @Option(help: "Whose data it is, for encryption. Default: the stream.")
  var subject: String?

  @Flag(help: "The payload is bytes, not JSON.")
  var raw = false

  func validate() throws {
    _ = try expectedVersion()
    if let id, UUID(uuidString: id) == nil { throw ValidationError("--id \(id) is not a UUID") }
    if type.isEmpty { throw ValidationError("--type is empty") }
    guard (1...Int(Int32.max)).contains(schemaVersion) else {
      throw ValidationError("--schema-version \(schemaVersion): expected 1 to \(Int32.max)")
    }
  }

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
    let stream: StreamName
    do { stream = try StreamName(self.stream) } catch { throw CommandFailure(.usage, "usage", error.description) }
    let bytes = data == "-" ? try StandardInput.read(limit: 16 << 20) : Array(data.utf8)
    if !raw {
      do { try JSONText.validate(bytes) } catch {
        throw CommandFailure(.badInput, "badInput", "--data is not JSON: \(error); nothing was written")
      }
    }
    var event = EventData(
      id: id.flatMap { UUID(uuidString: $0) } ?? .v7(), type: type, schemaVersion: schemaVersion,
      payload: Payload(bytes: bytes, content: raw ? .bytes : .json), subject: subject)
    if let metadata {
      do { event.metadata = try Metadata(json: Array(metadata.utf8)) } catch {
        throw CommandFailure(.badInput, "badInput", "--\(error); nothing was written")
      }
    }
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
  }
}
