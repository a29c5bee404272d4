internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials

/// An event that is to be appended, now or later, and to which stream.
struct EventOptions: ParsableArguments {
  @Argument(help: "The stream, as category-id.")
  var stream: String

  @Option(help: "The event type.")
  var type: String

  @Option(help: ArgumentHelp("The payload as JSON, or - to read it from standard input.", valueName: "json"))
  var data: String

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
    if let id, UUID(uuidString: id) == nil { throw ValidationError("--id \(id) is not a UUID") }
    if type.isEmpty { throw ValidationError("--type is empty") }
    guard (1...Int(Int32.max)).contains(schemaVersion) else {
      throw ValidationError("--schema-version \(schemaVersion): expected 1 to \(Int32.max)")
    }
  }

  var streamName: StreamName {
    get throws {
      do { return try StreamName(stream) } catch { throw CommandFailure(.usage, "usage", error.description) }
    }
  }

  func event(defaultID: @autoclosure () -> UUID = .v7()) throws -> EventData {
    let bytes = data == "-" ? try StandardInput.read(limit: 16 << 20) : Array(data.utf8)
    if !raw {
      do { try JSONText.validate(bytes) } catch {
        throw CommandFailure(.badInput, "badInput", "--data is not JSON: \(error); nothing was written")
      }
    }
    var event = EventData(
      id: id.flatMap { UUID(uuidString: $0) } ?? defaultID(), type: type, schemaVersion: schemaVersion,
      payload: Payload(bytes: bytes, content: raw ? .bytes : .json), subject: subject)
    if let metadata {
      do { event.metadata = try Metadata(json: Array(metadata.utf8)) } catch {
        throw CommandFailure(.badInput, "badInput", "--\(error); nothing was written")
      }
    }
    return event
  }
}
