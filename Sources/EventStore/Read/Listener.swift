internal import PostgreSQL
internal import Synchronization

/// Where the server's hints arrive: a connection for all readers of a log, made when the first one waits. As long as there is
/// none, they look for themselves.
final class Listener: Sendable {
  private enum State {
    case none(notBefore: ContinuousClock.Instant)
    case connecting
    case listening(Connection)
    case closed
  }
  private let state = Mutex(State.none(notBefore: .now))
  private let configuration: ConnectionConfiguration
  private let channel: String
  private let hints: Hints

  /// Not more often, where it fails: the server may be full, or answer nobody.
  private static let pause = Duration.seconds(2)

  init(_ configuration: ConnectionConfiguration, channel: String, hints: Hints) {
    self.configuration = configuration
    self.channel = channel
    self.hints = hints
  }

  /// Sees to it that there is a connection, or will be. Nobody waits for that.
  func listen() {
    let isMissing = state.withLock { state in
      switch state {
      case .none(let notBefore) where notBefore <= .now: break
      case .listening(let connection) where connection.failure != nil: break
      case .none, .connecting, .listening, .closed: return false
      }
      state = .connecting
      return true
    }
    // Outlives the reader that was first: it is for all of them.
    if isMissing { Task { await connect() } }
  }

  func close() {
    let connection = state.withLock { state -> Connection? in
      defer { state = .closed }
      if case .listening(let connection) = state { return connection }
      return nil
    }
    connection?.close()
  }

  private func connect() async {
    let connection = await listening()
    let isClosed = state.withLock { state in
      if case .closed = state { return true }
      state = connection.map { .listening($0) } ?? .none(notBefore: .now + Self.pause)
      return false
    }
    if isClosed { connection?.close() }
    // What was announced until now was announced to nobody.
    if connection != nil { hints.hint() }
  }

  private func listening() async -> Connection? {
    guard let connection = try? await Connection.connect(configuration) else { return nil }
    connection.onNotification { [hints] _ in hints.hint() }
    do {
      try await connection.script("LISTEN \(channel)")
      return connection
    } catch {
      connection.close()
      return nil
    }
  }
}
