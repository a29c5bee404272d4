internal import FoundationEssentials
internal import PostgreSQL
internal import Synchronization

/// An event as it goes into its row.
struct SealedEvent: Sendable {
  let id: UUID
  let type: String
  let schemaVersion: Int32
  /// Microseconds since 2000-01-01.
  let occurredAt: Int64?
  let metadata: [UInt8]
  let envelope: [UInt8]
}

/// One stream's part of an append, sealed.
struct SealedAppend: Sendable {
  let stream: StreamName
  /// 0 where this process does not know it yet: then the name travels.
  let streamID: Int64
  let expected: ExpectedVersion
  /// Whether this process has seen the expected version committed: then the server need not look for it.
  let isProven: Bool
  let events: [SealedEvent]
  /// Data keys in use that the store may not have yet.
  let newKeys: [DataKeyRow]

  var byteCount: Int { events.reduce(0) { $0 + $1.envelope.count + $1.metadata.count + 96 } }
}

/// A data key as the store keeps it.
struct DataKeyRow: Sendable {
  let id: UUID
  let subject: String
  let masterKeyID: String
  let wrapped: [UInt8]
}

/// What the append function said of one part.
enum Verdict: Sendable {
  case appended(streamID: Int64, firstVersion: Int, positions: [Position])
  case conflict(actual: Int)
  /// The first event's id is already at this version: an earlier try.
  case duplicate(firstVersion: Int, streamID: Int64)
  /// Nothing wrong with this part, but with another of its group.
  case refusedWithGroup
}

/// One caller's append, on its way through the queue. The caller waits for its ``outcome()``.
final class AppendRequest: Sendable {
  typealias Outcome = Result<[Verdict], AppendError>

  private enum State {
    case open
    case awaited(UnsafeContinuation<Outcome, Never>)
    case settled(Outcome)
  }

  let parts: [SealedAppend]
  let eventCount: Int
  let byteCount: Int
  private let state = Mutex(State.open)

  init(_ parts: [SealedAppend]) {
    self.parts = parts
    eventCount = parts.reduce(0) { $0 + $1.events.count }
    byteCount = parts.reduce(0) { $0 + $1.byteCount }
  }

  /// Other appends to the same stream can share a batch with this one.
  var isFloating: Bool { parts.count == 1 && parts[0].expected == .any }

  /// What came of it. To be awaited once.
  func outcome() async -> Outcome {
    await withUnsafeContinuation { continuation in
      let outcome = state.withLock { state -> Outcome? in
        if case .settled(let outcome) = state { return outcome }
        state = .awaited(continuation)
        return nil
      }
      if let outcome { continuation.resume(returning: outcome) }
    }
  }

  func settle(_ outcome: Outcome) {
    let waiter = state.withLock { state -> UnsafeContinuation<Outcome, Never>? in
      defer { state = .settled(outcome) }
      if case .awaited(let continuation) = state { return continuation }
      return nil
    }
    waiter?.resume(returning: outcome)
  }
}
