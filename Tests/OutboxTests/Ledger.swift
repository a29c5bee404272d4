import EventStore
import FoundationEssentials
import Outbox
import Synchronization
import TestSupport

/// What handlers were given and what they did with it, of all members of a group: the oracle of order and of loss.
final class Ledger: Sendable {
  private struct State {
    var inFlight: [String: Int64] = [:]
    /// The last version of a key that was handled or given up.
    var done: [String: Int] = [:]
    var handled: [Int64: Int] = [:]
    var problems: [String] = []
    var starts = 0
    var largest = 0
  }
  private let state = Mutex(State())

  var problems: [String] { state.withLock { $0.problems } }
  var starts: Int { state.withLock { $0.starts } }
  /// How often each event was handled.
  var handled: [Int64: Int] { state.withLock { $0.handled } }
  var mostAtOnce: Int { state.withLock { $0.largest } }

  /// An event of a stream has started.
  func begin(_ delivery: Delivery) {
    let (position, version) = (Int64(delivery.event.position.description) ?? 0, delivery.event.version)
    state.withLock { state in
      state.starts += 1
      if let other = state.inFlight[delivery.key] {
        state.problems.append("\(delivery.key): \(position) started while \(other) was in flight")
      }
      state.inFlight[delivery.key] = position
      state.largest = max(state.largest, state.inFlight.count)
      let done = state.done[delivery.key] ?? 0
      if version > done + 1, delivery.cause == nil {
        state.problems.append("\(delivery.key): version \(version) started after \(done)")
      }
    }
  }

  /// - Parameter isOver: It was handled or given up; else it is to come again.
  func end(_ delivery: Delivery, isOver: Bool) {
    let position = Int64(delivery.event.position.description) ?? 0
    state.withLock { state in
      state.inFlight[delivery.key] = nil
      guard isOver else { return }
      state.done[delivery.key] = max(state.done[delivery.key] ?? 0, delivery.event.version)
      state.handled[position, default: 0] += 1
    }
  }
}

/// Appends `count` events each to streams `item-0` … `item-(streams-1)`, in turn.
func appendItems(_ log: PostgreSQLEventLog, streams: Int, each count: Int, from version: Int = 0) async throws {
  for turn in 0..<count {
    try await withThrowingTaskGroup { group in
      for stream in 0..<streams {
        group.addTask {
          try await log.append(
            [EventData(type: "made", payload: .json("{\"turn\":\(turn)}"))], to: try StreamName("item-\(stream)"),
            expecting: .exact(version + turn))
        }
      }
      try await group.waitForAll()
    }
  }
}

/// Runs a consumer beside `body`, and ends it gracefully.
func withConsumers<R>(_ consumers: [GroupConsumer], _ body: () async throws -> R) async throws -> R {
  let tasks = consumers.map { consumer in Task { try await consumer.run() } }
  do {
    let result = try await body()
    for task in tasks { task.cancel() }
    for task in tasks { try await task.value }
    return result
  } catch {
    for task in tasks { task.cancel() }
    throw error
  }
}

/// What a handler was given: `stream version attempt cause`, with the time.
final class Seen: Sendable {
  private let deliveries = Mutex<[(text: String, at: ContinuousClock.Instant)]>([])
  func add(_ delivery: Delivery) {
    let cause = delivery.cause.map { " \($0.rawValue)" } ?? ""
    let text = "\(delivery.event.stream) \(delivery.event.version) \(delivery.attempt)\(cause)"
    deliveries.withLock { $0.append((text, .now)) }
  }
  var all: [String] { deliveries.withLock { $0.map(\.text) } }
  var times: [ContinuousClock.Instant] { deliveries.withLock { $0.map(\.at) } }
}

func untilEmpty() -> GroupConsumer.Options {
  var options = GroupConsumer.Options()
  options.endsWhenEmpty = true
  options.endsWhenStopped = true
  return options
}

func append(_ log: PostgreSQLEventLog, _ stream: StreamName, _ types: String..., customer: String? = nil)
  async throws
{
  try await log.append(
    types.map {
      EventData(
        type: $0, payload: .json("{}"), metadata: Metadata(customer.map { ["customer": $0] } ?? [:]))
    }, to: stream, expecting: .any)
}
