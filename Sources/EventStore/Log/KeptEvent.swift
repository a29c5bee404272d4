package import FoundationEssentials
package import PostgreSQL

/// An event that is to be appended later, as the store keeps it until then: its payload sealed, or not, just as in the log.
package struct KeptEvent: Sendable {
  package var id: UUID
  package var stream: StreamName
  package var type: String
  package var schemaVersion: Int
  package var occurredAt: Date?
  package var metadata: Metadata
  package var subject: String?
  package var envelope: [UInt8]

  package init(
    id: UUID, stream: StreamName, type: String, schemaVersion: Int, occurredAt: Date?, metadata: Metadata,
    subject: String?,
    envelope: [UInt8]
  ) {
    self.id = id
    self.stream = stream
    self.type = type
    self.schemaVersion = schemaVersion
    self.occurredAt = occurredAt
    self.metadata = metadata
    self.subject = subject
    self.envelope = envelope
  }

  fileprivate var keyID: UUID? {
    envelope.withUnsafeBytes { bytes in
      guard case .sealed(let id)? = try? Envelope.header(of: bytes) else { return nil }
      return id
    }
  }
}

extension PostgreSQLEventLog {
  /// Checks and seals an event as an append would.
  ///
  /// - Returns: And the data key that the store may not have yet.
  package func keep(
    _ event: EventData, for stream: StreamName, on connection: Connection
  ) async throws(AppendError) -> (KeptEvent, DataKeyRow?) {
    let appends = TraceContext.carried(
      [StreamAppend([event], to: stream, expecting: .any)], by: configuration.tracer)
    let event = appends[0].events[0]
    sealer.prepare(for: connection)
    let sealed = try await sealer.seal(appends, inTransaction: true) { () throws(PostgreSQLError) in (connection, nil)
    }[0]
    let kept = KeptEvent(
      id: event.id, stream: stream, type: event.type, schemaVersion: event.schemaVersion, occurredAt: event.occurredAt,
      metadata: event.metadata, subject: event.subject, envelope: sealed.events[0].envelope)
    return (kept, sealed.newKeys.first)
  }

  /// The events again, in order, or why one cannot be opened.
  package func open(
    _ kept: [KeptEvent], on connection: Connection
  ) async throws(PostgreSQLError) -> [Result<EventData, PayloadError>] {
    // Those that could not be had the last time may be there now.
    let unknown = Set(kept.compactMap(\.keyID)).filter { id in
      if case .success? = keys.key(id) { false } else { true }
    }
    let found = unknown.isEmpty ? [:] : try await keys.fetch(ids: Array(unknown), connection)
    return kept.map { event in
      Result { () throws(PayloadError) in
        EventData(
          id: event.id, type: event.type, schemaVersion: event.schemaVersion, payload: try payload(of: event, found),
          metadata: event.metadata, subject: event.subject, occurredAt: event.occurredAt)
      }
    }
  }

  private func payload(
    of event: KeptEvent, _ found: [UUID: Result<DataKey, PayloadError>]
  ) throws(PayloadError) -> Payload {
    let key = try event.keyID.map { id throws(PayloadError) in
      guard let key = try (found[id] ?? keys.key(id))?.get() else {
        throw .dataKeyMissing(key: id.uuidString.lowercased())
      }
      return key
    }
    if key == nil {
      guard plaintextCategories.contains(stream: event.stream) else {
        throw .notSealed(category: event.stream.category)
      }
    }
    // It will be sealed again under its subject's key, which must not be another's than it is under now.
    if let key, !key.subject.isSameBytes(as: event.subject ?? event.stream.description) { throw .altered }
    let context = EnvelopeContext(
      eventID: event.id, stream: event.stream.description, type: event.type, schemaVersion: event.schemaVersion,
      metadata: event.metadata.isEmpty ? nil : event.metadata.json,
      occurredAt: event.occurredAt.map { $0.microsecondsSince2000 &+ microsecondsFrom1970To2000 })
    return try event.envelope.withUnsafeBytes { bytes in
      Result { () throws(PayloadError) in try Envelope.open(bytes, key: key, context: context) }
    }.get()
  }
}
