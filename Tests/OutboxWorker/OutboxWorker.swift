import EventStore
import Foundation
import Outbox
import PostgreSQL

/// A process with members of consumer groups, for tests that kill it: it writes down, before and after, what its handlers were
/// given. The connection string and the keyring's path come by the
/// environment.
///
/// Arguments: the file to write to; how many members a group; how: `each`, `batch` or `transaction`; the lease in seconds; the groups.
@main
struct OutboxWorker {
  static func main() async throws {
    let arguments = CommandLine.arguments
    let environment = ProcessInfo.processInfo.environment
    guard arguments.count > 5, let count = Int(arguments[2]), let lease = Double(arguments[4]),
      let url = environment["EVENTSTORE_URL"], let keyring = environment["EVENTSTORE_KEYRING"]
    else { fatalError("usage: outbox-worker FILE MEMBERS each|batch|transaction LEASE GROUP…") }
    let journal = try Journal(path: arguments[1])
    var configuration = EventLogConfiguration(
      url, encryption: .sealed(try Keyring.open(file: keyring)))
    configuration.connection.maximumConnections = 12
    let log = try await patiently { try await PostgreSQLEventLog.open(configuration) }
    var options = GroupConsumer.Options()
    options.lease = .seconds(lease)
    options.concurrency = 8
    try await withThrowingTaskGroup { tasks in
      for group in arguments[5...] {
        for _ in 0..<count {
          let consumer: GroupConsumer
          switch arguments[3] {
          case "each":
            consumer = GroupConsumer(log, group, options: options) { delivery in
              journal.begin(delivery)
              if delivery.event.version % 10 == 0 { try await Task.sleep(for: .milliseconds(2)) }
              return journal.end(delivery)
            }
          case "batch":
            consumer = GroupConsumer(log, group, batches: .init(size: 20), options: options) { deliveries in
              deliveries.map { delivery in
                journal.begin(delivery)
                return journal.end(delivery)
              }
            }
          default:
            let insert = Statement("INSERT INTO effects VALUES ($1, $2::text::bigint, $3)")
            consumer = GroupConsumer(log, group, transactions: .init(size: 20), options: options) {
              delivery, transaction in
              try await transaction.execute(
                insert, Parameters(group, delivery.event.position.description, Int64(delivery.epoch)))
              return journal.outcome(delivery)
            }
          }
          tasks.addTask { try await consumer.run() }
        }
      }
      try await tasks.waitForAll()
    }
  }

  /// The server may be restarting.
  private static func patiently<R>(_ body: () async throws -> R) async throws -> R {
    for _ in 0..<100 {
      do { return try await body() } catch { try await Task.sleep(for: .milliseconds(100)) }
    }
    return try await body()
  }
}

/// Lines in a file, each by one write: what was written is there, whatever becomes of this process.
final class Journal: Sendable {
  private let descriptor: Int32

  init(path: String) throws {
    descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT, 0o600)
    guard descriptor >= 0 else { throw CocoaError(.fileWriteUnknown) }
  }

  func begin(_ delivery: Delivery) { write("S", delivery, "") }

  func end(_ delivery: Delivery) -> Disposition {
    let outcome = outcome(delivery)
    if case .ack = outcome { write("E", delivery, "done") } else { write("E", delivery, "again") }
    return outcome
  }

  /// What the event itself asks for: so many failures; -1: always.
  func outcome(_ delivery: Delivery) -> Disposition {
    guard case .success(let payload) = delivery.event.payload,
      let object = try? JSONSerialization.jsonObject(with: Data(payload.bytes)) as? [String: Int],
      let fails = object["fails"]
    else { return .stop(reason: "not an event of this test") }
    return fails < 0 || delivery.attempt <= fails ? .retry(reason: "as asked") : .ack
  }

  private func write(_ kind: String, _ delivery: Delivery, _ outcome: String) {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    let line =
      "\(kind) \(time.tv_sec * 1_000_000_000 + time.tv_nsec) \(getpid()) \(delivery.group) \(delivery.key) "
      + "\(delivery.event.version) \(delivery.event.position) \(delivery.attempt) \(delivery.epoch) \(outcome)\n"
    _ = line.utf8CString.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count - 1) }
  }
}
