internal import PostgreSQL
internal import Synchronization

/// Events whose transaction the server refused at its very end, when their cursor had moved in it already: it begins again with what is
/// written. Then each of them is tried alone, and one that is refused alone is to blame.
final class RefusedCommits: Sendable {
  private struct State {
    var suspects: Set<Int64> = []
    var error: PostgreSQLError?
  }
  private let state = Mutex(State())

  enum Place {
    case none
    /// The first is the only one that it can be.
    case alone(PostgreSQLError)
    /// The first of them is there.
    case amongOthers(Int)
  }

  /// The last refusal is the only one that is known.
  func note(_ positions: [Int64], _ error: PostgreSQLError) {
    state.withLock { $0 = State(suspects: Set(positions), error: error) }
  }

  func wentWell(_ positions: some Sequence<Int64>) {
    state.withLock { if !$0.suspects.isEmpty { $0.suspects.subtract(positions) } }
  }

  func place(in positions: some Collection<Int64>) -> Place {
    state.withLock { state in
      guard !state.suspects.isEmpty, let index = positions.enumerated().first(where: { state.suspects.contains($1) })?.0
      else { return .none }
      guard index == 0, state.suspects.count == 1, let error = state.error else { return .amongOthers(index) }
      state = State()
      return .alone(error)
    }
  }
}
