internal import FoundationEssentials
internal import PostgreSQL

/// A call that looks where each stream is, and gives each append its own verdict: for streams of which this process has
/// seen no version, or of whose last one there are doubts. See schema/functions/append.sql.
struct CheckedCall {
  private struct Part {
    let append: SealedAppend
    let request: Int
    let index: Int
    /// 0 where no append of the call knows it.
    var streamID: Int64

    init(_ append: SealedAppend, request: Int, index: Int) {
      self.append = append
      self.request = request
      self.index = index
      streamID = append.streamID
    }
  }

  /// In the order in which they travel: by stream id, new streams by name. Two calls then wait for each other in one
  /// order only, which rules out deadlock.
  private let parts: [Part]
  private let requests: [AppendRequest]
  /// Which part each event belongs to, where events are not to be taken part by part.
  private let order: [Int]?

  /// One append a stream, in ascending order of ids that are all known, with their events in the order that `order`
  /// gives: the append of each event. Each append stands alone.
  init(_ appends: [SealedAppend], interleaved order: [Int]) {
    requests = appends.map { AppendRequest([$0]) }
    parts = appends.enumerated().map { Part($1, request: $0, index: 0) }
    self.order = order
  }

  init(_ requests: [AppendRequest]) {
    self.requests = requests
    order = nil
    var parts: [Part] = []
    parts.reserveCapacity(requests.count)
    for (number, request) in requests.enumerated() {
      for (index, append) in request.parts.enumerated() {
        parts.append(Part(append, request: number, index: index))
      }
    }
    if parts.count > 1, parts.contains(where: { $0.streamID == 0 }) { Self.shareIDs(&parts) }
    // Stable: appends to one stream keep their order.
    parts.sort {
      if $0.streamID != $1.streamID { return $0.streamID < $1.streamID }
      if $0.streamID == 0, $0.append.stream != $1.append.stream { return $0.append.stream < $1.append.stream }
      return ($0.request, $0.index) < ($1.request, $1.index)
    }
    self.parts = parts
  }

  /// Of two appends to one stream, which expect no version, one may have been sealed when this process had forgotten the
  /// stream: they would part. (Others are not to be in one call: the store refuses them.)
  private static func shareIDs(_ parts: inout [Part]) {
    var known: [StreamName: Int64] = [:]
    for part in parts where part.streamID != 0 && part.append.expected == .any {
      known[part.append.stream] = part.streamID
    }
    for index in parts.indices where parts[index].streamID == 0 && parts[index].append.expected == .any {
      parts[index].streamID = known[parts[index].append.stream] ?? 0
    }
  }

  func send(on connection: Connection, _ queries: Queries, _ limits: CallLimits = .none) -> PendingResult {
    connection.send(queries.append, parameters(limits), timeout: limits.timeout)
  }

  private func parameters(_ limits: CallLimits) -> Parameters {
    let grouped = requests.contains { $0.parts.count > 1 }
    let named = parts.contains { $0.streamID == 0 }
    var columns = EventColumns(
      events: requests.reduce(0) { $0 + $1.eventCount }, bytes: requests.reduce(0) { $0 + $1.byteCount })

    var streamIDs = BinaryArray(of: TypeOID.int8, reservingBytes: 12 * parts.count)
    var names = BinaryArray(of: TypeOID.text)
    var expected = BinaryArray(of: TypeOID.int8, reservingBytes: 12 * parts.count)
    var groups = BinaryArray(of: TypeOID.int4)
    var firstIDs = BinaryArray(of: TypeOID.uuid, reservingBytes: 20 * parts.count)
    var appendOf = BinaryArray(of: TypeOID.int4, reservingBytes: 8 * columns.capacity)
    var offsets = BinaryArray(of: TypeOID.int4, reservingBytes: 8 * columns.capacity)
    var keyOf = BinaryArray(of: TypeOID.int4)
    var keys = KeyColumns()

    func add(_ event: SealedEvent, of part: Int, offset: Int) {
      appendOf.append(Int32(part + 1))
      offsets.append(Int32(offset))
      columns.add(event)
    }

    var previous: StreamName?
    var offset = 0
    for (number, part) in parts.enumerated() {
      let append = part.append
      streamIDs.append(part.streamID)
      if named { part.streamID == 0 ? names.append(append.stream.description) : names.appendNull() }
      expected.append(append.expected.code)
      if grouped { groups.append(Int32(part.request)) }
      firstIDs.append(append.events[0].id)
      for key in append.newKeys {
        keyOf.append(Int32(number + 1))
        keys.add(key)
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
      for part in order {
        add(parts[part].append.events[taken[part]], of: part, offset: taken[part] + 1)
        taken[part] += 1
      }
    }

    var parameters = Parameters(reservingBytes: columns.byteCount + 64 * parts.count + 400)
    parameters.append(streamIDs)
    parameters.append(names, unless: !named)
    parameters.append(expected)
    parameters.append(groups, unless: !grouped)
    parameters.append(firstIDs)
    parameters.append(appendOf)
    parameters.append(offsets)
    columns.add(to: &parameters)
    parameters.append(keyOf, unless: keyOf.count == 0)
    keys.add(to: &parameters)
    limits.addLockTimeout(to: &parameters)
    return parameters
  }

  /// The verdicts, in the order in which the appends were given; without positions where they were interleaved.
  func verdicts(_ rows: Rows) -> [Verdict] {
    let streamIDs = rows.int64Array(0, 0)
    let outcomes = rows.int16Array(0, 1)
    let versions = rows.int64Array(0, 2)
    let positions = rows.int64Array(0, 3)
    precondition(streamIDs.count == parts.count && outcomes.count == parts.count && versions.count == parts.count)

    // Where each request's verdicts begin.
    var starts: [Int] = []
    starts.reserveCapacity(requests.count)
    var total = 0
    for request in requests {
      starts.append(total)
      total += request.parts.count
    }
    var verdicts = [Verdict](repeating: .refusedWithGroup, count: total)
    // The function inserted by stream id, and in the given order within a stream.
    var sequence = Array(parts.indices)
    if parts.contains(where: { $0.streamID == 0 }) {
      sequence.sort { (streamIDs[$0], $0) < (streamIDs[$1], $1) }
    }
    var next = 0
    var stream: Int64 = 0
    var last = 0
    for index in sequence {
      let append = parts[index].append
      let verdict: Verdict
      switch outcomes[index] {
      case 0:
        if streamIDs[index] != stream {
          stream = streamIDs[index]
          last = Int(versions[index])
        }
        let count = append.events.count
        verdict = .appended(
          streamID: stream, firstVersion: last + 1,
          positions: order == nil ? positions[next..<next + count].map(Position.init) : [])
        next += count
        last += count
      case 1: verdict = .conflict(actual: Int(versions[index]))
      case 2: verdict = .duplicate(firstVersion: Int(versions[index]) + 1, streamID: streamIDs[index])
      default: verdict = .refusedWithGroup
      }
      verdicts[starts[parts[index].request] + parts[index].index] = verdict
    }
    return verdicts
  }
}
