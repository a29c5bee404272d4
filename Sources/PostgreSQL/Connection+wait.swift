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

  /// Moves bytes on the calling thread until `isDone`, for up to `limit` and a tick of the reactor more. The reactor
  /// leaves the socket alone meanwhile; time-outs go on there.
  ///
  /// The thread sleeps without a timer of its own, because where a timer is a matter for the hypervisor, setting and
  /// clearing one takes longer than all else here: the reactor's ticks see to it that nobody waits too long.
  ///
  /// - Parameter onInput: Called each time that something has come, before it is taken in.
  func wait(for limit: Duration, onInput: () -> Void, until isDone: () -> Bool) {
    let end = Deadline.now.advanced(by: limit)
    let mine = state.withLock { state -> Alarm? in
      guard state.pg != nil, state.mover != .caller, let alarm = state.alarm ?? Alarm() else { return nil }
      if state.mover == .reactor, state.ownsSocket {
        state.reactor.watch(state.socket, state.token, readable: false, writable: false)
      }
      state.mover = .caller
      state.alarm = alarm
      if limit < .milliseconds(Int64(Reactor.tickMilliseconds)) { state.reactor.hurry() }
      return alarm
    }
    guard let alarm = mine else { return }
    while !isDone() {
      guard let socket = state.withLock({ $0.pollDescriptor }) else { break }
      let (isReadable, wasRung) = withUnsafeTemporaryAllocation(of: pollfd.self, capacity: 2) { descriptors in
        descriptors.initializeElement(at: 0, to: socket)
        descriptors.initializeElement(
          at: 1, to: pollfd(fd: alarm.descriptor, events: Int16(POLLIN), revents: 0))
        poll(descriptors.baseAddress, 2, -1)
        return (descriptors[0].revents & ~Int16(POLLOUT) != 0, descriptors[1].revents != 0)
      }
      if wasRung { alarm.clear() }
      if isReadable { onInput() }
      // When rung without an event, too: the TLS library may hold bytes that it has decrypted.
      advance(as: .caller, readable: isReadable || wasRung)
      if wasRung, Deadline.now >= end { break }
    }
    state.withLock { $0.mover = .none }
  }

  /// Has the reactor move bytes again, unless a caller does: what is under way comes in without anybody waiting for it.
  package func returnToReactor() { state.withLock { Self.returnToReactor(&$0) } }

  static func returnToReactor(_ state: inout State) {
    guard state.mover == .none else { return }
    state.mover = .reactor
    guard state.ownsSocket else { return }
    state.reactor.watch(state.socket, state.token, readable: state.readable, writable: state.writable)
  }
}

extension Connection.State {
  /// Has a caller who waits look again: he may have waited long enough, there may be input that no event tells of, or
  /// what he waits for was taken in by the reactor just before.
  func ringCaller() {
    if mover == .caller { alarm?.ring() }
  }

  /// `nil` where the connection has failed.
  fileprivate var pollDescriptor: pollfd? {
    guard ownsSocket else { return nil }
    return pollfd(fd: socket, events: Int16(readable ? POLLIN : 0) | Int16(writable ? POLLOUT : 0), revents: 0)
  }
}
