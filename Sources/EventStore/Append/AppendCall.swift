internal import FoundationEssentials
internal import PostgreSQL

/// One call of the append function: its parameters, and how to read what it returns. See schema/functions/append.sql.
struct AppendCall {
  private struct Part {
    let append: SealedAppend
    let request: Int
    let index: Int
  }

  /// In the order in which they travel: by stream id, new streams by name. Two calls then wait for each other in one
  /// order only, which rules out deadlock.
  private let parts: [Part]
  private let requests: [AppendRequest]
  /// Which part each event belongs to, where events are not to be taken part by part.
  private let order: [Int32]?

  /// One append a stream, in ascending order of ids that are all known, with their events in the order that `order`
  /// gives: the part of each event. Each part stands alone.
  init(interleaved appends: [SealedAppend], order: [Int32]) {
    requests = appends.map { AppendRequest([$0]) }
    parts = appends.enumerated().map { Part(append: $1, request: $0, index: 0) }
    self.order = order
  }

  init(_ requests: [AppendRequest]) {
    self.requests = requests
    order = nil
    var parts: [Part] = []
    parts.reserveCapacity(requests.count)
    for (number, request) in requests.enumerated() {
      for (index, append) in request.parts.enumerated() {
        parts.append(Part(append: append, request: number, index: index))
      }
    }
    // Stable: appends to one stream keep their order.
    parts.sort {
      if $0.append.streamID != $1.append.streamID { return $0.append.streamID < $1.append.streamID }
      if $0.append.streamID == 0, $0.append.stream != $1.append.stream { return $0.append.stream < $1.append.stream }
      return ($0.request, $0.index) < ($1.request, $1.index)
    }
    self.parts = parts
  }

  var parameters: Parameters {
    let events = requests.reduce(0) { $0 + $1.eventCount }
    let bytes = requests.reduce(0) { $0 + $1.byteCount }
    let grouped = requests.contains { $0.parts.count > 1 }
    let named = parts.contains { $0.append.streamID == 0 }

    var streamIDs = BinaryArray(of: TypeOID.int8, reservingBytes: 12 * parts.count)
    var names = BinaryArray(of: TypeOID.text)
    var expected = BinaryArray(of: TypeOID.int8, reservingBytes: 12 * parts.count)
    var groups = BinaryArray(of: TypeOID.int4)
    var proven = BinaryArray(of: TypeOID.bool, reservingBytes: 5 * parts.count)
    var firstIDs = BinaryArray(of: TypeOID.uuid, reservingBytes: 20 * parts.count)
    var appendOf = BinaryArray(of: TypeOID.int4, reservingBytes: 8 * events)
    var offsets = BinaryArray(of: TypeOID.int4, reservingBytes: 8 * events)
    var eventIDs = BinaryArray(of: TypeOID.uuid, reservingBytes: 20 * events)
    var types = BinaryArray(of: TypeOID.text, reservingBytes: 32 * events)
    var schemaVersions = BinaryArray(of: TypeOID.int4, reservingBytes: 8 * events)
    var occurredAt = BinaryArray(of: TypeOID.timestamptz, reservingBytes: 12 * events)
    var metadata = BinaryArray(of: TypeOID.bytea, reservingBytes: 4 * events)
    var data = BinaryArray(of: TypeOID.bytea, reservingBytes: bytes)
    var keyOf = BinaryArray(of: TypeOID.int4)
    var keyIDs = BinaryArray(of: TypeOID.uuid)
    var keySubjects = BinaryArray(of: TypeOID.text)
    var keyMasters = BinaryArray(of: TypeOID.text)
    var keyWrapped = BinaryArray(of: TypeOID.bytea)

    func add(_ event: SealedEvent, of part: Int, offset: Int32) {
      appendOf.append(Int32(part + 1))
      offsets.append(offset)
      eventIDs.append(event.id)
      types.append(event.type)
      schemaVersions.append(event.schemaVersion)
      if let time = event.occurredAt { occurredAt.append(time) } else { occurredAt.appendNull() }
      if event.metadata.isEmpty { metadata.appendNull() } else { metadata.append(event.metadata) }
      data.append(event.envelope)
    }

    var previous: StreamName?
    var offset: Int32 = 0
    for (number, part) in parts.enumerated() {
      let append = part.append
      streamIDs.append(append.streamID)
      if named { append.streamID == 0 ? names.append(append.stream.description) : names.appendNull() }
      expected.append(append.expected.code)
      if grouped { groups.append(Int32(part.request)) }
      proven.append(append.isProven)
      firstIDs.append(append.events[0].id)
      for key in append.newKeys {
        keyOf.append(Int32(number + 1))
        keyIDs.append(key.id)
        keySubjects.append(key.subject)
        keyMasters.append(key.masterKeyID)
        keyWrapped.append(key.wrapped)
      }
      guard order == nil else { continue }
      if previous != append.stream {
        offset = 0
        previous = append.stream
      }
      for event in append.events {
        offset += 1
        add(event, of: number, offset: offset)
      }
    }
    if let order {
      var taken = [Int](repeating: 0, count: parts.count)
      for part in order.lazy.map(Int.init) {
        add(parts[part].append.events[taken[part]], of: part, offset: Int32(taken[part] + 1))
        taken[part] += 1
      }
    }

    var parameters = Parameters(reservingBytes: bytes + 128 * events)
    func add(_ array: BinaryArray, unless absent: Bool = false) {
      absent ? parameters.appendNull(array.typeOID) : parameters.append(array)
    }
    add(streamIDs)
    add(names, unless: !named)
    add(expected)
    add(groups, unless: !grouped)
    for array in [proven, firstIDs, appendOf, offsets, eventIDs, types, schemaVersions, occurredAt, metadata, data] {
      add(array)
    }
    for array in [keyOf, keyIDs, keySubjects, keyMasters, keyWrapped] { add(array, unless: keyIDs.count == 0) }
    return parameters
  }

  /// The verdicts, by request and part.
  func verdicts(_ rows: Rows) -> [[Verdict]] {
    let streamIDs = rows.int64Array(0, 0)
    let outcomes = rows.int16Array(0, 1)
    let versions = rows.int64Array(0, 2)
    let positions = rows.int64Array(0, 3)
    precondition(streamIDs.count == parts.count && outcomes.count == parts.count && versions.count == parts.count)

    var verdicts = requests.map { [Verdict](repeating: .refusedWithGroup, count: $0.parts.count) }
    // The function inserted by stream id, and in the given order within a stream.
    var order = Array(parts.indices)
    if parts.contains(where: { $0.append.streamID == 0 }) {
      order.sort { (streamIDs[$0], $0) < (streamIDs[$1], $1) }
    }
    var next = 0
    var stream: Int64 = 0
    var last = 0
    for index in order {
      let part = parts[index]
      switch outcomes[index] {
      case 0:
        if streamIDs[index] != stream {
          stream = streamIDs[index]
          last = Int(versions[index])
        }
        let count = part.append.events.count
        verdicts[part.request][part.index] = .appended(
          streamID: stream, firstVersion: last + 1, positions: positions[next..<next + count].map(Position.init))
        next += count
        last += count
      case 1: verdicts[part.request][part.index] = .conflict(actual: Int(versions[index]))
      case 2:
        verdicts[part.request][part.index] = .duplicate(
          firstVersion: Int(versions[index]) + 1, streamID: streamIDs[index])
      default: break
      }
    }
    return verdicts
  }
}

extension ExpectedVersion {
  /// As the append function wants it.
  var code: Int64 {
    switch self {
    case .exact(let version): Int64(version)
    case .noStream: 0
    case .any: -1
    case .streamExists: -2
    }
  }
}
