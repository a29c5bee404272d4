import ArgumentParser
import EventStore
import FoundationEssentials

/// What this program does as a process of a scenario. Prints a ``WorkerCount``.
struct WorkerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "worker", shouldDisplay: false)

  enum Work: String, ExpressibleByArgument { case appends, scan }
  @Argument var work: Work
  @Option var schema: String
  @Option var keyring: String
  @Option var callers = 1
  @Option var eventsPerStream = Int.max
  /// When to begin, on the clock of ``Monotonic``.
  @Option var start: UInt64 = 0
  @Option var nanoseconds: UInt64 = 0

  func run() async throws {
    guard let url = ProcessInfo.processInfo.environment["EVENTSTORE_URL"] else {
      throw Problem("a worker needs EVENTSTORE_URL")
    }
    let configuration = EventLogConfiguration(
      url, schema: try SchemaName(schema), encryption: .sealed(try Keyring.open(file: keyring)))
    let count =
      switch work {
      case .appends: try await appends(configuration)
      case .scan: try await scan(configuration)
      }
    Output.line(String(decoding: try JSONEncoder().encode(count), as: UTF8.self))
  }

  private func appends(_ configuration: EventLogConfiguration) async throws -> WorkerCount {
    let appends = try await Appends(
      configuration, callers: callers, eventsPerStream: eventsPerStream, prefix: UUID().uuidString)
    // Until the round begins: makes streams and keys, fills caches.
    let now = Monotonic.now
    guard now < start else { throw Problem("a worker was not ready in time: is the machine busy?") }
    _ = try await appends.run(for: .nanoseconds(Int64(start - now)))
    let sample = try await appends.run(from: start, for: .nanoseconds(Int64(nanoseconds)))
    await appends.end()
    return WorkerCount(events: sample.events, seconds: sample.seconds)
  }

  private func scan(_ configuration: EventLogConfiguration) async throws -> WorkerCount {
    let started = Monotonic.now
    let events = try await PostgreSQLEventLog.withLog(configuration) { log in
      var events = 0
      for try await page in log.readAll().pages { events += page.count }
      return events
    }
    return WorkerCount(
      events: events, seconds: Double(Monotonic.now - started) / 1e9, peakKiB: try Self.peakKiB())
  }

  /// Not `getrusage`, whose figure includes the parent's at the time of the fork.
  private static func peakKiB() throws -> Int {
    let status = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
    for line in status.split(separator: "\n") where line.hasPrefix("VmHWM:") {
      if let value = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap({ Int($0) }) {
        return value
      }
    }
    throw Problem("/proc/self/status does not say how much memory was used")
  }
}
