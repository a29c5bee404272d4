public import EventStore
public import FoundationEssentials
public import Logging
internal import PostgreSQL
public import ServiceLifecycle

/// Appends scheduled events when they are due: see ``Schedules``.
///
/// Run any number of them, in any number of processes: each occurrence is appended exactly once, in the transaction that moves its
/// schedule on. The server's clock decides when; an event follows its time by a few milliseconds, or, of a schedule that was made
/// only just before, by at most ``Options/interval``. An idle scheduler looks once in that interval.
///
/// An event that cannot be appended (its key is missing, an inline projection refuses it) is tried again after a second, and then
/// after twice as long each time, five minutes at most; other schedules do not wait for it.
public struct Scheduler: Service {
  /// How often a scheduler looks, when it ends, and whom it tells.
  public struct Options: Sendable {
    /// How long it may take until a new schedule is noticed.
    public var interval = Duration.seconds(1)
    /// Ends when nothing is due any more, instead of waiting.
    public var endsWhenNothingIsDue = false
    /// Told of each event that was appended, once that is committed.
    public var onAppend: (@Sendable (ScheduledAppend) async -> Void)?
    /// Told of outages and of events that could not be appended. Never of payloads.
    public var logger = Logger(label: "scheduler") { _ in SwiftLogNoOpLogHandler() }

    public init() {}
  }

  /// An occurrence that was appended.
  public struct ScheduledAppend: Sendable, Hashable {
    /// The schedule's name.
    public let name: String
    /// When it was to be appended, which is not when it was.
    public let dueAt: Date
    /// Of a recurring schedule: made from the id of its event and ``dueAt``.
    public let eventID: UUID
    public let stream: StreamName
    /// In the stream, from 1.
    public let version: Int
    public let position: Position
    /// An event with this id was there already: nothing was appended.
    public let wasDuplicate: Bool
  }

  private let log: any TransactionalEventLog
  private let queries: ScheduleQueries
  /// To be changed before ``run()``.
  public var options: Options
  /// In one transaction, at most.
  private static let batch = 100

  /// - Parameter log: The store's log; or, where it has inline projections, an `InlineLog`.
  public init(_ log: any TransactionalEventLog, options: Options = Options()) {
    self.log = log
    self.options = options
    queries = ScheduleQueries(log.store.configuration.schema)
  }

  /// Runs until the service shuts down or the task is cancelled; outages are waited out, and so are disks and memories that are full,
  /// locks that others have, and statements that were cancelled.
  public func run() async throws {
    try await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        do {
          let wait = try await Outage.waitOut(Self.isOutage) {
            options.logger.warning("The database is away, or can do nothing now", metadata: ["error": "\($0)"])
          } _: {
            try await appendDue()
          }
          if options.endsWhenNothingIsDue { return }
          try await Task.sleep(for: wait)
        } catch {
          guard Task.isCancelled else { throw error }
        }
      }
    }
  }

  /// Appends what is due now.
  ///
  /// - Returns: How long nothing else is.
  private func appendDue() async throws -> Duration {
    var pause = Duration.milliseconds(5)
    while true {
      try Task.checkCancellation()
      let rows = try await log.store.pool.execute(queries.wait)
      guard !rows.isNull(0, 0) else { return options.interval }
      let seconds = rows.double(0, 0)
      guard seconds <= 0 else { return min(options.interval, .seconds(seconds)) }
      if try await appendBatch() {
        pause = .milliseconds(5)
      } else {
        // What is due is in another scheduler's hands.
        try await Task.sleep(for: pause)
        pause = min(pause * 2, .milliseconds(200))
      }
    }
  }

  /// - Returns: Whether there was something to do.
  private func appendBatch() async throws -> Bool {
    switch try await append(atMost: Self.batch) {
    case .nothing: return false
    case .done(let appended): await tell(of: appended)
    case .failed(let due, _):
      // One of them spoils the transaction of all.
      for _ in due { try await appendOne() }
    }
    return true
  }

  private func appendOne() async throws {
    for attempt in 1...3 {
      switch try await append(atMost: 1) {
      case .nothing: return
      case .done(let appended): return await tell(of: appended)
      case .failed(let due, let error):
        // A deadlock with someone else's transaction is nobody's fault.
        if Self.isDeadlock(error), attempt < 3 { continue }
        try await postponeOrRest(due[0], error)
        return
      }
    }
  }

  private static func isOutage(_ error: any Error) -> Bool {
    Outage.isMeant(by: error) || Outage.isOfConnection(error)
  }

  /// What keeps this one schedule from being moved must not end the scheduler of all.
  private func postponeOrRest(_ schedule: ScheduledEvent, _ error: any Error) async throws {
    do {
      try await postpone(schedule, error) { try await log.store.pool.execute($0, $1) }
    } catch {
      guard !Task.isCancelled, !Self.isOutage(error) else { throw error }
      options.logger.error(
        "A schedule could not be put off",
        metadata: ["schedule": "\(schedule.name)", "problem": "\(ErrorWords.of(error))"])
      // It is still due.
      try await Task.sleep(for: max(options.interval, .milliseconds(100)))
    }
  }

  private static func isDeadlock(_ error: any Error) -> Bool {
    switch error {
    case let error as PostgreSQLError: error.sqlState?.prefix(2) == "40"
    case AppendError.database(let error): error.sqlState?.prefix(2) == "40"
    default: false
    }
  }

  private func tell(of appended: [ScheduledAppend]) async {
    guard let onAppend = options.onAppend else { return }
    for one in appended { await onAppend(one) }
  }

  private enum Outcome {
    case nothing
    case done([ScheduledAppend])
    case failed([ScheduledEvent], any Error)
  }

  private func append(atMost limit: Int) async throws -> Outcome {
    var due: [ScheduledEvent] = []
    do {
      return try await log.store.withTransaction { transaction in
        let connection = transaction.connection
        let rows = try await connection.execute(queries.due, Parameters(Int64(limit)))
        due = rows.indices.map { ScheduledEvent(rows, $0) }
        guard !due.isEmpty else { return .nothing }
        var appends: [StreamAppend] = []
        var places: [StreamName: Int] = [:]
        var moved: [(schedule: ScheduledEvent, append: Int, event: Int)] = []
        for (schedule, event) in zip(due, try await log.store.open(due.map(\.event), on: connection)) {
          switch event {
          case .success(let event):
            let stream = schedule.event.stream
            let place = places[stream] ?? appends.count
            if place == appends.count {
              places[stream] = place
              appends.append(StreamAppend([], to: stream, expecting: .any))
            }
            moved.append((schedule, place, appends[place].events.count))
            appends[place].events.append(schedule.occurrence(of: event))
          case .failure(let error):
            try await postpone(schedule, error) { try await connection.execute($0, $1) }
          }
        }
        guard !moved.isEmpty else { return .done([]) }
        try await connection.execute(queries.move, Parameters(BinaryArray(moved.map(\.schedule.name))))
        // Last: readers of the log wait for a transaction that has appended.
        let appended = try await log.append(appends, in: transaction)
        return .done(
          moved.map { schedule, append, event in
            ScheduledAppend(
              name: schedule.name, dueAt: schedule.dueAt, eventID: appends[append].events[event].id,
              stream: schedule.event.stream, version: appended[append].firstVersion + event,
              position: appended[append].positions[event], wasDuplicate: appended[append].wasDuplicate)
          })
      }
    } catch {
      guard !due.isEmpty, !Task.isCancelled, !Outage.isOfConnection(error) else { throw error }
      return .failed(due, error)
    }
  }

  /// Just this occurrence: another scheduler may have appended it meanwhile.
  private func postpone(
    _ schedule: ScheduledEvent, _ error: any Error, _ execute: (Statement, Parameters) async throws -> Rows
  ) async throws {
    let problem = ErrorWords.of(error)
    options.logger.error(
      "A scheduled event could not be appended", metadata: ["schedule": "\(schedule.name)", "problem": "\(problem)"])
    _ = try await execute(queries.postpone, Parameters(schedule.name, problem, schedule.event.id, schedule.dueAt))
  }
}
