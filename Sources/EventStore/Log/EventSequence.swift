/// Events in order, pulled page by page: nothing is read ahead of its consumer but the pages in flight.
public struct EventSequence: AsyncSequence, Sendable {
  public typealias Element = RecordedEvent
  public typealias Failure = ReadError

  package let makeSource: @Sendable () -> any EventPageSource

  package init(_ makeSource: @escaping @Sendable () -> any EventPageSource) { self.makeSource = makeSource }

  public func makeAsyncIterator() -> Iterator { Iterator(source: makeSource()) }

  /// The same events a page at a time: less work per event in bulk.
  public var pages: Pages { Pages(makeSource: makeSource) }

  /// One pass over the sequence, from its beginning: each iterator reads for itself.
  public struct Iterator: AsyncIteratorProtocol {
    let source: any EventPageSource
    var page: [RecordedEvent] = []
    var index = 0

    init(source: any EventPageSource) { self.source = source }

    public mutating func next() async throws(ReadError) -> RecordedEvent? {
      while index == page.count {
        guard let next = try await source.nextPage() else { return nil }
        page = next
        index = 0
      }
      defer { index += 1 }
      return page[index]
    }

    public mutating func next(isolation actor: isolated (any Actor)?) async throws(ReadError) -> RecordedEvent? {
      try await next()
    }
  }

  /// Non-empty pages of events, in order.
  public struct Pages: AsyncSequence, Sendable {
    public typealias Element = [RecordedEvent]
    public typealias Failure = ReadError

    let makeSource: @Sendable () -> any EventPageSource

    public func makeAsyncIterator() -> Iterator { Iterator(source: makeSource()) }

    /// One pass, from the beginning.
    public struct Iterator: AsyncIteratorProtocol {
      let source: any EventPageSource

      public mutating func next() async throws(ReadError) -> [RecordedEvent]? { try await source.nextPage() }

      public mutating func next(
        isolation actor: isolated (any Actor)?
      ) async throws(ReadError) -> [RecordedEvent]? {
        try await source.nextPage()
      }
    }
  }

  /// All events, for streams and ranges that fit in memory.
  public func collect() async throws(ReadError) -> [RecordedEvent] {
    var events: [RecordedEvent] = []
    let source = makeSource()
    while let page = try await source.nextPage() { events += page }
    return events
  }
}

/// Where an ``EventSequence`` gets its pages from. Used by one iterator, one call at a time.
package protocol EventPageSource: AnyObject {
  /// The next page, not empty; `nil` at the end.
  func nextPage() async throws(ReadError) -> [RecordedEvent]?
}
