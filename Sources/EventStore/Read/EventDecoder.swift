internal import FoundationEssentials
internal import Glibc
internal import PostgreSQL

/// Turns rows of the events table into recorded events: finds names and keys, opens payloads.
///
/// Belongs to one reader: what it met lately it keeps without a lock.
final class EventDecoder {
  private let directory: StreamDirectory
  private let keys: DataKeys
  private var opener: EventOpener

  private static let cores = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  /// Fewer are opened faster than another thread is woken.
  private static let rowsWorthATask = 256

  init(_ directory: StreamDirectory, _ keys: DataKeys, _ plaintextCategories: PlaintextCategories) {
    self.directory = directory
    self.keys = keys
    opener = EventOpener(plaintextCategories: plaintextCategories)
  }

  /// The columns of every query that reads events.
  enum Column {
    static let position = 0
    static let streamID = 1
    static let version = 2
    static let recordedAt = 3
    static let occurredAt = 4
    static let eventID = 5
    static let schemaVersion = 6
    static let type = 7
    static let metadata = 8
    static let data = 9
  }

  /// Tells it a stream's name, for this reader alone.
  func learn(_ name: StreamName, of id: Int64) { opener.learn(name, of: id) }

  /// Of what was met before, nothing counts any more.
  func forget() { opener.forgetAll() }

  /// - Parameters:
  ///   - count: How many of the first rows; `nil`: all.
  ///   - lookUp: Gives a connection for names and keys that are not known yet.
  func events(
    _ rows: Rows, first count: Int? = nil, lookUp: () async throws(PostgreSQLError) -> Connection
  ) async throws(PostgreSQLError) -> [RecordedEvent] {
    let total = count ?? rows.count
    // The rows of one stream lack nothing more than its first.
    var first = OpenedRows(range: 0..<min(1, total))
    opener.noteUnknown(rows, first.range, &first)
    _ = recall([first])
    let count = max(1, min(Self.cores, total / Self.rowsWorthATask))
    var parts = (0..<count).map { OpenedRows(range: $0 * total / count..<($0 + 1) * total / count) }
    parts = await opened(rows, parts)
    if parts.contains(where: { $0.events.count < $0.range.count }) {
      try await meet(parts, lookUp)
      parts = await opened(rows, parts)
      precondition(parts.allSatisfy { $0.events.count == $0.range.count }, "a row was passed over")
    }
    opener.forget()
    var events = parts[0].events
    if parts.count > 1 {
      events.reserveCapacity(total)
      for part in parts.dropFirst() { events += part.events }
    }
    return events
  }

  /// Goes on with each part, on a core of its own where there are several.
  private func opened(_ rows: Rows, _ parts: [OpenedRows]) async -> [OpenedRows] {
    var first = parts[0]
    guard parts.count > 1 else {
      opener.open(rows, &first)
      return [first]
    }
    let opener = opener
    return await withTaskGroup(of: (index: Int, part: OpenedRows).self) { group in
      for index in parts.indices.dropFirst() {
        group.addTask {
          var (own, part) = (opener, parts[index])
          own.open(rows, &part)
          return (index, part)
        }
      }
      self.opener.open(rows, &first)
      var opened = parts
      opened[0] = first
      for await (index, part) in group { opened[index] = part }
      return opened
    }
  }

  /// Gives the opener what this process has met of the names and keys that the parts stopped for.
  ///
  /// - Returns: The others.
  private func recall(_ parts: [OpenedRows]) -> (streams: [Int64], keys: [UUID]) {
    var streams: [Int64] = []
    for id in parts.reduce(into: Set(), { $0.formUnion($1.unknownStreams) }) {
      if let name = directory.name(of: id) { opener.learn(name, of: id) } else { streams.append(id) }
    }
    var ids: [UUID] = []
    for id in parts.reduce(into: Set(), { $0.formUnion($1.unknownKeys) }) {
      if let key = keys.key(id) { opener.learn(key, of: id) } else { ids.append(id) }
    }
    return (streams, ids)
  }

  /// Finds the names and keys that the parts stopped for.
  private func meet(
    _ parts: [OpenedRows], _ lookUp: () async throws(PostgreSQLError) -> Connection
  ) async throws(PostgreSQLError) {
    let (streams, ids) = recall(parts)
    guard !streams.isEmpty || !ids.isEmpty else { return }
    let connection = try await lookUp()
    // Both at once.
    let names = streams.isEmpty ? nil : directory.askForNames(of: streams, connection)
    let found = ids.isEmpty ? nil : keys.ask(for: ids, connection)
    if let names {
      for (id, name) in directory.learnNames(try await names.promptRows()) { opener.learn(name, of: id) }
      // A stream's row cannot be deleted; if someone did, its events are still shown.
      for id in streams where !opener.knows(stream: id) { opener.learn(StreamName(trusted: "unknown-\(id)"), of: id) }
    }
    if let found { for (id, key) in keys.learn(try await found.promptRows(), ids) { opener.learn(key, of: id) } }
  }
}

/// Envelopes bind a time in microseconds since 1970; PostgreSQL counts from 2000.
let microsecondsFrom1970To2000: Int64 = 946_684_800_000_000

/// Which categories may hold plaintext payloads.
enum PlaintextCategories: Sendable {
  case all
  case only(Set<String>)

  func contains(stream: StreamName) -> Bool {
    switch self {
    case .all: true
    case .only(let names): !names.isEmpty && Self.contains(names, stream.category)
    }
  }

  private static func contains(_ names: Set<String>, _ category: String) -> Bool {
    names.contains { $0.isSameBytes(as: category) }
  }

  func check(stream: UnsafeRawBufferPointer) throws(PayloadError) {
    guard case .only(let names) = self else { return }
    let category = String(decoding: stream.prefix { $0 != UInt8(ascii: "-") }, as: UTF8.self)
    guard Self.contains(names, category) else { throw .notSealed(category: category) }
  }
}
