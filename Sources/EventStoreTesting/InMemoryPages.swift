internal import EventStore

/// A page that is taken when reading starts, and nothing after it.
final class OnePage: EventPageSource {
  private var take: (() -> [RecordedEvent])?

  init(_ take: @escaping () -> [RecordedEvent]) { self.take = take }

  func nextPage() async throws(ReadError) -> [RecordedEvent]? {
    if Task.isCancelled { throw .cancelled }
    guard let page = take?() else { return nil }
    take = nil
    return page.isEmpty ? nil : page
  }
}

/// The log from a position on, without end.
final class LivePages: EventPageSource {
  private let log: InMemoryEventLog
  private let arrivals: Arrivals
  private let filter: LogFilter
  private var position: Position

  init(_ log: InMemoryEventLog, _ arrivals: Arrivals, after position: Position, _ filter: LogFilter) {
    self.log = log
    self.arrivals = arrivals
    self.position = position
    self.filter = filter
  }

  func nextPage() async throws(ReadError) -> [RecordedEvent]? {
    while true {
      if Task.isCancelled { throw .cancelled }
      let count = arrivals.count
      let (found, last) = log.events(after: position, filter)
      position = last
      if !found.isEmpty { return found }
      await arrivals.wait(after: count)
    }
  }
}
