public import EventStore
internal import FoundationEssentials

/// An event in the form of CloudEvents 1.0.2, structured mode, JSON (https://github.com/cloudevents/spec).
///
/// `subject` is the stream, `id` the event's own. Beside what the specification names: `streamversion`, `position`, `schemaversion`,
/// `partitionkey` (Partitioning extension), `traceparent` (Distributed Tracing extension), `correlationid`, `causationid`.
public struct CloudEvent: Sendable, Hashable {
  /// The media type of ``json``.
  public static let contentType = "application/cloudevents+json"

  /// The event's, in lower case.
  public let id: String
  /// A JSON object, in UTF-8.
  public let json: [UInt8]

  /// - Parameter source: Which store: a URI reference, such as `/orders`.
  /// - Throws: ``EventStore/PayloadError`` when the payload cannot be opened. A shredded one gives an event without data.
  public init(_ delivery: Delivery, source: String) throws(PayloadError) {
    let event = delivery.event
    id = event.id.uuidString.lowercased()
    var writer = JSONWriter(capacity: 512)
    func add(_ name: String, _ value: String?) {
      guard let value else { return }
      writer.append(raw: ",")
      writer.append(key: name)
      writer.append(value)
    }
    writer.append(raw: "{\"specversion\":\"1.0\"")
    add("id", id)
    add("source", source)
    add("type", event.type)
    add("subject", event.stream.description)
    add("time", event.time.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)))
    writer.append(raw: ",\"streamversion\":")
    writer.append(event.version)
    add("position", event.position.description)
    writer.append(raw: ",\"schemaversion\":")
    writer.append(event.schemaVersion)
    add("partitionkey", delivery.key)
    add("traceparent", event.metadata.traceparent)
    add("correlationid", event.metadata.correlationID)
    add("causationid", event.metadata.causationID)
    switch event.payload {
    // An append takes a writer's word for it: what is no JSON would make members of its own, of an event that is signed.
    case .success(let payload) where payload.content == .json && JSONText.isValid(payload.bytes):
      writer.append(raw: ",\"datacontenttype\":\"application/json\",\"data\":")
      writer.append(raw: payload.bytes)
    case .success(let payload):
      add("datacontenttype", "application/octet-stream")
      add("data_base64", Data(payload.bytes).base64EncodedString())
    case .failure(.shredded): break
    case .failure(let error): throw error
    }
    writer.append(raw: "}")
    json = writer.take()
  }

  /// The same, for a relay: a payload that cannot be opened stops the group, as a key that is not here is no event's fault.
  public init(relaying delivery: Delivery, source: String) throws(DeliveryFailure) {
    do {
      try self.init(delivery, source: source)
    } catch {
      throw DeliveryFailure(.stop(reason: "its payload cannot be opened: \(error)"))
    }
  }
}
