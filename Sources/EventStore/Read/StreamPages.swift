internal import FoundationEssentials
internal import PostgreSQL

/// The pages of one stream, forwards or backwards. The next page is fetched while the consumer works on this one.
final class StreamPages: EventPageSource {
  private let log: PostgreSQLEventLog
  private let stream: StreamName
  private let range: StreamRange
  private let decoder: EventDecoder

  private enum Progress {
    case notStarted
    case reading(ConnectionPool.Lease, StreamDirectory.Entry, PendingResult)
    case finished
  }
  private var progress = Progress.notStarted
  /// Nearly always the only one.
  private var isFirstPage = true
  private var left: Int
  private var limit: PageLimit
  private var cap = PayloadCap.usual
  /// How many were asked for.
  private var asked = 0
  /// The last version that was read.
  private var last: Int?
  /// This process's, before anything was read.
  private var newestConnection: UInt64 = 0

  init(_ log: PostgreSQLEventLog, _ stream: StreamName, _ range: StreamRange) {
    self.log = log
    self.stream = stream
    self.range = range
    decoder = log.makeDecoder()
    left = range.limit
    limit = PageLimit(log.configuration.pageSize)
  }

  func nextPage() async throws(ReadError) -> [RecordedEvent]? {
    // Also where pages come faster than anybody waits for one.
    if Task.isCancelled { throw .cancelled }
    do {
      return try await log.reading { () throws(PostgreSQLError) in try await page() }
    } catch {
      progress = .finished
      throw error
    }
  }

  private func page() async throws(PostgreSQLError) -> [RecordedEvent]? {
    if case .notStarted = progress { try await start() }
    if case .reading(let lease, let entry, let pending) = progress, !lease.keep() {
      // What was sent on the other one still comes.
      progress = .reading(try await log.pool.lease(), entry, pending)
    }
    defer { if case .reading(let lease, _, _) = progress { lease.offer() } }
    while case .reading(let lease, let entry, let pending) = progress {
      let rows = isFirstPage ? try await pending.promptRows() : try await pending.rows()
      isFirstPage = false
      // A bound in time is looked at here, so how many of these rows count is known only below.
      let count = cap.came(rows, askedWith: cap)
      let isLast = count == rows.count && (rows.count < asked || (range.until == nil && rows.count == left))
      if range.until == nil { left -= count }
      limit.came(rows)
      if count > 0 { last = Int(rows.int64(count - 1, EventDecoder.Column.version)) }
      if isLast {
        progress = .finished
      } else {
        send(lease, entry)
        // It comes in while this page is opened.
        lease.connection.returnToReactor()
      }
      guard count > 0 else {
        if isLast { break }
        continue
      }
      // An append that expects what was read need not look for it again.
      let newest = range.direction == .forwards ? count - 1 : 0
      entry.saw(Int(rows.int64(newest, EventDecoder.Column.version)), since: newestConnection)
      // On the lease in hand: its connection pipelines.
      var events = try await decoder.events(rows, first: count) { () throws(PostgreSQLError) in lease.connection }
      limit.opened(events)
      if let until = range.until {
        events.removeAll { $0.time > until }
        if events.count >= left {
          progress = .finished
          events.removeLast(events.count - left)
        }
        left -= events.count
      }
      if !events.isEmpty { return events }
    }
    return nil
  }

  private func start() async throws(PostgreSQLError) {
    progress = .finished
    guard left > 0 else { return }
    let lease = try await log.pool.lease()
    log.sealer.prepare(for: lease.connection)
    newestConnection = Connection.newestSerial
    guard let entry = try await log.directory.entry(of: stream, lease.connection) else { return }
    send(lease, entry)
  }

  private func send(_ lease: ConnectionPool.Lease, _ entry: StreamDirectory.Entry) {
    var first = range.versions.lowerBound
    var last = range.versions.upperBound
    if let version = self.last {
      switch range.direction {
      case .forwards where version == .max: (first, last) = (1, 0)
      case .forwards: first = version + 1
      case .backwards: last = version - 1
      }
    }
    guard first <= last else {
      progress = .finished
      return
    }
    let statement = range.direction == .forwards ? log.queries.streamForwards : log.queries.streamBackwards
    asked = cap.limit(range.until == nil ? min(left, limit.events) : limit.events)
    let pending = lease.connection.send(statement, Parameters(entry.id, first, last, asked, cap.bytes))
    progress = .reading(lease, entry, pending)
  }
}
