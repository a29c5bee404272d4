internal import Glibc
internal import Synchronization

extension Connection {
  /// Who moves bytes when the socket is ready.
  enum Mover {
    case reactor
    /// A thread in ``wait(for:until:)``.
    case caller
    /// Nobody: the last caller is probably the next, and telling the reactor each time would cost two system calls. It
    /// takes over at its next tick.
    case none
  }

  /// Moves bytes on the calling thread until `isDone`, for up to `limit`. The reactor leaves the socket alone meanwhile;
  /// time-outs go on there.
  func wait(for limit: Duration, until isDone: () -> Bool) {
    let isMine = state.withLock { state in
      guard state.pg != nil, state.mover != .caller else { return false }
      if state.mover == .reactor { Reactor.shared.watch(state.socket, state.token, readable: false, writable: false) }
      state.mover = .caller
      return true
    }
    guard isMine else { return }
    let end = Deadline.now.advanced(by: limit)
    while !isDone(), Deadline.now < end {
      guard var descriptor = state.withLock({ $0.pollDescriptor }) else { return }
      // In slices: a connection that fails meanwhile does not wake this thread.
      let milliseconds = min(max(1, end.milliseconds(from: .now)), Self.sliceMilliseconds)
      let isReady = poll(&descriptor, 1, Int32(milliseconds)) > 0
      // After a slice without an event, too: the TLS library may hold bytes that it has decrypted.
      advance(as: .caller, readable: !isReady || descriptor.revents & ~Int16(POLLOUT) != 0)
    }
    state.withLock { $0.mover = .none }
  }

  private static let sliceMilliseconds: Int64 = 50

  /// Has the reactor move bytes again, unless a caller does.
  func returnToReactor() { state.withLock { Self.returnToReactor(&$0) } }

  static func returnToReactor(_ state: inout State) {
    guard state.mover == .none else { return }
    state.mover = .reactor
    guard state.pg != nil else { return }
    Reactor.shared.watch(state.socket, state.token, readable: state.readable, writable: state.writable)
  }
}

extension Connection.State {
  /// `nil` where the connection has failed.
  fileprivate var pollDescriptor: pollfd? {
    guard pg != nil else { return nil }
    return pollfd(fd: socket, events: Int16(readable ? POLLIN : 0) | Int16(writable ? POLLOUT : 0), revents: 0)
  }
}
