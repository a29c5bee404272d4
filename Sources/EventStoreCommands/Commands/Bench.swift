internal import ArgumentParser
internal import EventStore
internal import FoundationEssentials
internal import Histogram
internal import PostgreSQL

/// An aggregate of 10,000 events.
private struct BenchCounter: Aggregate, Equatable {
  static let category = "counter"

  enum Event: AggregateEvent {
    case counted(number: Int, note: String)
    enum CodingKeys: String, CodingKey, CaseIterable { case counted = "counter.counted" }
  }

  var total = 0
  var note = ""

  mutating func apply(_ event: Event) {
    switch event {
    case .counted(let number, let note):
      total += number
      self.note = note
    }
  }
}

struct Bench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure this machine and server: appends, a scan, aggregates with and without snapshots.",
    discussion: """
      Works in a schema of its own (esctl_bench), which it drops afterwards. Figures are of one moment of one machine; \
      `make bench` compares with plain PostgreSQL in one run.

      Examples:
        esctl bench
        esctl bench --writers 256 --seconds 10 --json
      """)
  @OptionGroup var store: StoreOptions

  @Option(help: "Concurrent writers.")
  var writers = 32

  @Option(help: "How long each measurement takes, in seconds.")
  var seconds = 5

  @Option(help: "Bytes a payload.")
  var payload = 256

  func validate() throws {
    guard (1...10_000).contains(writers) else { throw ValidationError("--writers: expected 1 to 10000") }
    guard (1...3600).contains(seconds) else { throw ValidationError("--seconds: expected 1 to 3600") }
    guard (1...1_000_000).contains(payload) else { throw ValidationError("--payload: expected 1 to 1000000") }
  }

  func run() async throws {
    let connection = try await store.readyConnection()
    let scratch = try await ScratchStore.make(named: "esctl_bench", connection)
    do {
      try await PostgreSQLEventLog.withLog(scratch.configuration) { try await measure($0) }
    } catch {
      // Interrupted, too: what is cancelled could not even connect.
      try? await Task { try await scratch.drop() }.value
      try Task.checkCancellation()
      throw error
    }
    try await scratch.drop()
    scratch.release()
  }

  private struct Figure {
    let name: String
    let perSecond: Double
    let latency: Histogram<UInt64>?
  }

  private func measure(_ log: PostgreSQLEventLog) async throws {
    let bar = store.progressBar("bench", total: 6, unit: .count("measurements"))
    var figures: [Figure] = []
    figures.append(try await appends(log, "append 1, \(writers) writers", writers: writers, batch: 1))
    bar.advance()
    figures.append(try await appends(log, "append 1, 1 writer", writers: 1, batch: 1))
    bar.advance()
    figures.append(try await appends(log, "append 100, 1 writer", writers: 1, batch: 100))
    bar.advance()
    let start = ContinuousClock.now
    var count = 0
    for try await page in log.readAll().pages { count += page.count }
    let elapsed = start.duration(to: .now) / .seconds(1)
    figures.append(Figure(name: "scan, opened", perSecond: Double(count) / elapsed, latency: nil))
    bar.advance()
    figures += try await loads(log, bar)
    bar.finish()
    print(figures)
  }

  private static let longStream = 10_000

  /// Loads of a long aggregate: in full, and by way of a snapshot that is as old as the interval lets it become.
  private func loads(_ log: PostgreSQLEventLog, _ bar: ProgressBar) async throws -> [Figure] {
    let stream = try BenchCounter.stream("long")
    let note = String(repeating: "x", count: payload)
    var version = 0
    for end in [Self.longStream - 99, Self.longStream] {
      while version < end {
        let events = try (version..<min(end, version + 500)).map {
          try EventCodec().encode(BenchCounter.Event.counted(number: $0, note: note))
        }
        version = try await log.append(events, to: stream, expecting: .exact(version)).version
      }
      // Makes the snapshot.
      if version < Self.longStream { _ = try await AggregateStore(log).load(BenchCounter.self, "long") }
    }
    var figures: [Figure] = []
    for usesSnapshots in [false, true] {
      let store = AggregateStore(log, usesSnapshots: usesSnapshots)
      var histogram = Histogram<UInt64>(numberOfSignificantValueDigits: .three)
      let start = ContinuousClock.now
      let end = start + .seconds(seconds)
      var loads = 0
      while ContinuousClock.now < end {
        let sent = ContinuousClock.now
        let counter = try await store.load(BenchCounter.self, "long")
        histogram.record(UInt64(max(1, sent.duration(to: .now) / .microseconds(1))))
        guard counter.total == Self.longStream * (Self.longStream - 1) / 2 else {
          throw CommandFailure(.failed, "bench", "the loaded state is wrong: \(counter.total)")
        }
        loads += 1
      }
      let events = usesSnapshots ? 99 : Self.longStream
      figures.append(
        Figure(
          name: "load of 10,000 events, \(usesSnapshots ? "snapshot and 99 events" : "all replayed")",
          perSecond: Double(loads * events) / (start.duration(to: .now) / .seconds(1)), latency: histogram))
      bar.advance()
    }
    return figures
  }

  private func appends(
    _ log: PostgreSQLEventLog, _ name: String, writers: Int, batch: Int
  ) async throws -> Figure {
    let run = UUID.v7().uuidString.prefix(13)
    let end = ContinuousClock.now + .seconds(seconds)
    let body = Payload(bytes: [UInt8](repeating: 0x78, count: payload))
    let start = ContinuousClock.now
    let (total, latency) = try await withThrowingTaskGroup(of: (Int, Histogram<UInt64>).self) { group in
      for writer in 0..<writers {
        group.addTask {
          var histogram = Histogram<UInt64>(numberOfSignificantValueDigits: .three)
          let stream = try StreamName(category: "bench", id: "\(run)-\(batch)-\(writer)")
          var version = 0
          while ContinuousClock.now < end {
            let events = (0..<batch).map { _ in EventData(type: "bench.appended", payload: body) }
            let sent = ContinuousClock.now
            version = try await log.append(events, to: stream, expecting: .exact(version)).version
            histogram.record(UInt64(max(1, sent.duration(to: .now) / .microseconds(1))))
          }
          return (version, histogram)
        }
      }
      var total = 0
      var all = Histogram<UInt64>(numberOfSignificantValueDigits: .three)
      for try await (count, histogram) in group {
        total += count
        for bucket in histogram.recordedValues() { all.record(bucket.value, count: bucket.count) }
      }
      return (total, all)
    }
    return Figure(name: name, perSecond: Double(total) / (start.duration(to: .now) / .seconds(1)), latency: latency)
  }

  private func print(_ figures: [Figure]) {
    let output = StandardOutput()
    if store.json {
      for figure in figures {
        output.line(
          .object([
            ("name", .string(figure.name)), ("eventsPerSecond", .integer(Int(figure.perSecond))),
            ("p50Microseconds", .optional(figure.latency.map { Int($0.valueAtPercentile(50)) })),
            ("p99Microseconds", .optional(figure.latency.map { Int($0.valueAtPercentile(99)) })),
          ]))
      }
      return
    }
    var table = Table([.init("MEASUREMENT"), .init("EVENTS/S", .right), .init("P50", .right), .init("P99", .right)])
    for figure in figures {
      func percentile(_ value: Double) -> String {
        figure.latency.map { "\($0.valueAtPercentile(value)) µs" } ?? ""
      }
      table.append([figure.name, Quantity.count(Int(figure.perSecond)), percentile(50), percentile(99)])
    }
    output.text(table.text(for: output.terminal))
  }
}
