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

/// One caller's append, on its way through the queue. The caller waits in ``next()``.
final class AppendRequest: Sendable {
  /// What wakes the waiting caller.
  enum Signal: Sendable {
    case done(Result<[Verdict], AppendError>)
    /// A lane is free and this caller is to drive it.
    case lead(AppendQueue.Batch)
  }

  let parts: [SealedAppend]
  let eventCount: Int
  let byteCount: Int

  private enum State {
    case idle
    case waiting(UnsafeContinuation<Signal, Never>)
    case signalled([Signal])
  }
  private let state = Mutex(State.idle)

  init(_ parts: [SealedAppend]) {
    self.parts = parts
    eventCount = parts.reduce(0) { $0 + $1.events.count }
    byteCount = parts.reduce(0) { $0 + $1.byteCount }
  }

  /// Other appends to the same stream can share a batch with this one.
  var isFloating: Bool { parts.count == 1 && parts[0].expected == .any }

  func next() async -> Signal {
    await withUnsafeContinuation { continuation in
      let signal = state.withLock { state -> Signal? in
        if case .signalled(var signals) = state {
          let first = signals.removeFirst()
          state = signals.isEmpty ? .idle : .signalled(signals)
          return first
        }
        state = .waiting(continuation)
        return nil
      }
      if let signal { continuation.resume(returning: signal) }
    }
  }

  func signal(_ signal: Signal) {
    let waiter = state.withLock { state -> UnsafeContinuation<Signal, Never>? in
      switch state {
      case .waiting(let continuation):
        state = .idle
        return continuation
      case .idle: state = .signalled([signal])
      case .signalled(let signals): state = .signalled(signals + [signal])
      }
      return nil
    }
    waiter?.resume(returning: signal)
  }
}
