internal import EventStore
internal import FoundationEssentials
internal import PostgreSQL

/// A schedule that is due: what it keeps, and the occurrence that is to be appended.
struct ScheduledEvent {
  /// The keys of metadata that say where an event comes from.
  static let nameKey = "schedule"
  static let timeKey = "scheduledFor"

  let name: String
  let event: KeptEvent
  let isRecurring: Bool
  let dueAt: Date

  init(name: String, event: KeptEvent, isRecurring: Bool, dueAt: Date) {
    self.name = name
    self.event = event
    self.isRecurring = isRecurring
    self.dueAt = dueAt
  }

  init(_ rows: Rows, _ row: Int) {
    name = rows.text(row, 0)
    event = KeptEvent(
      id: rows.uuid(row, 1), stream: StreamName(trusted: rows.text(row, 2)), type: rows.text(row, 3),
      schemaVersion: Int(rows.int32(row, 4)), occurredAt: rows.isNull(row, 5) ? nil : rows.date(row, 5),
      metadata: rows.isNull(row, 6) ? Metadata() : Metadata(trusted: rows.byteArray(row, 6)),
      subject: rows.isNull(row, 7) ? nil : rows.text(row, 7), envelope: rows.byteArray(row, 8))
    isRecurring = rows.bool(row, 9)
    dueAt = rows.date(row, 10)
  }

  /// The event of this occurrence.
  func occurrence(of event: EventData) -> EventData {
    var event = event
    if isRecurring { event.id = Self.id(of: event.id, at: dueAt) }
    event.metadata = event.metadata.adding([
      (Self.nameKey, name),
      (Self.timeKey, dueAt.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))),
    ])
    return event
  }

  /// A UUID of version 8 from the schedule's event id and the time: the same occurrence has the same id, whoever appends it.
  static func id(of event: UUID, at time: Date) -> UUID {
    var bytes = withUnsafeBytes(of: event.uuid) { Array($0) }
    withUnsafeBytes(of: time.microsecondsSince2000.bigEndian) { bytes += $0 }
    return .v8(digestOf: bytes)
  }
}
