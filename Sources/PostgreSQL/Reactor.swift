internal import CPostgreSQL
internal import Glibc
internal import Synchronization

/// One thread that waits for many sockets with epoll(7) and tells each one's owner what it is ready for.
///
/// Not a Dispatch source: on Linux that costs a second thread hop for each event, and a lone caller would pay it.
final class Reactor: Sendable {
  /// The process's own. Connections do little on it: they move bytes and split messages.
  private static let made = Mutex<Reactor?>(nil)

  private let epoll: Int32
  private struct Clients {
    var byToken: [UInt64: any ReactorClient] = [:]
    var lastToken: UInt64 = 0
  }
  private let clients = Mutex(Clients())

  /// How often clients look at their deadlines: time-outs are this coarse.
  static let tickMilliseconds: Int32 = 100
  /// How often while callers wait on threads that others need.
  private static let hurriedTickMilliseconds: Int32 = 10
  /// Ticks without such a caller until they are rare again.
  private static let hurriedTicks = 50
  private let isHurried = Atomic<Bool>(false)
  private let alarm: Alarm
  /// No client's.
  private static let alarmToken: UInt64 = 0

  /// The process's own reactor, made when the first connection needs it.
  ///
  /// - Throws: `connectFailed` where the process may have no further descriptor or thread. Whoever comes later tries again.
  static func shared() throws(PostgreSQLError) -> Reactor {
    let outcome = made.withLock { made -> Result<Reactor, PostgreSQLError> in
      if let made { return .success(made) }
      guard let alarm = Alarm() else { return .failure(failure(errno)) }
      let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
      guard epoll >= 0 else { return .failure(failure(errno)) }
      let reactor = Reactor(epoll, alarm)
      let created = NewThread.start { reactor.run() }
      guard created == 0 else { return .failure(failure(created)) }
      made = reactor
      return .success(reactor)
    }
    return try outcome.get()
  }

  private static func failure(_ number: Int32) -> PostgreSQLError {
    PostgreSQLError(
      .connectFailed,
      "the process may have no further file descriptor or thread: \(String(cString: strerror(number))); raise its limits"
    )
  }

  private init(_ epoll: Int32, _ alarm: Alarm) {
    self.epoll = epoll
    self.alarm = alarm
    control(EPOLL_CTL_ADD, alarm.descriptor, Self.alarmToken, readable: true, writable: false)
  }

  deinit { close(epoll) }

  /// Starts to watch `socket` for input.
  func register(_ socket: Int32, _ client: any ReactorClient) -> UInt64 {
    let token = clients.withLock { clients in
      clients.lastToken += 1
      clients.byToken[clients.lastToken] = client
      return clients.lastToken
    }
    control(EPOLL_CTL_ADD, socket, token, readable: true, writable: false)
    return token
  }

  /// Changes what `socket` is watched for.
  func watch(_ socket: Int32, _ token: UInt64, readable: Bool, writable: Bool) {
    control(EPOLL_CTL_MOD, socket, token, readable: readable, writable: writable)
  }

  /// Stops watching.
  ///
  /// - Parameter socket: `nil` where it was closed already: the kernel has stopped then.
  func deregister(_ socket: Int32?, _ token: UInt64) {
    var unused = epoll_event()
    if let socket { epoll_ctl(epoll, EPOLL_CTL_DEL, socket, &unused) }
    clients.withLock { $0.byToken[token] = nil }
  }

  private func control(_ operation: Int32, _ socket: Int32, _ token: UInt64, readable: Bool, writable: Bool) {
    var event = epoll_event()
    event.events = (readable ? EPOLLIN.rawValue : 0) | (writable ? EPOLLOUT.rawValue : 0)
    event.data.u64 = token
    epoll_ctl(epoll, operation, socket, &event)
  }

  /// Ticks come often for the next while, so that a caller who waits on a thread that others need does not wait long.
  func hurry() {
    if !isHurried.load(ordering: .relaxed), !isHurried.exchange(true, ordering: .relaxed) { alarm.ring() }
  }

  private func run() {
    var events = [epoll_event](repeating: epoll_event(), count: 64)
    var hurriedTicks = 0
    var tick = Self.tickMilliseconds
    var nextTick = Deadline.now.advanced(milliseconds: Int64(tick))
    var nextWholeTick = nextTick
    while true {
      let idle = clients.withLock { $0.byToken.isEmpty }
      let count = epoll_wait(epoll, &events, Int32(events.count), idle ? 1000 : tick)
      for index in 0..<max(0, Int(count)) {
        let event = events[index]
        if event.data.u64 == Self.alarmToken {
          alarm.clear()
          hurriedTicks = Self.hurriedTicks
          tick = Self.hurriedTickMilliseconds
          nextTick = .now.advanced(milliseconds: Int64(tick))
          continue
        }
        guard let client = clients.withLock({ $0.byToken[event.data.u64] }) else { continue }
        let broken = event.events & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0
        client.ready(
          readable: broken || event.events & EPOLLIN.rawValue != 0,
          writable: event.events & EPOLLOUT.rawValue != 0)
      }
      let now = Deadline.now
      if now >= nextTick {
        if hurriedTicks > 0 { hurriedTicks -= 1 }
        if hurriedTicks == 0, tick != Self.tickMilliseconds {
          // Whoever waits from now on rings again.
          tick = Self.tickMilliseconds
          isHurried.store(false, ordering: .relaxed)
        }
        nextTick = now.advanced(milliseconds: Int64(tick))
        // Time-outs stay as coarse as they are.
        guard now >= nextWholeTick else {
          for client in clients.withLock({ Array($0.byToken.values) }) { client.hurriedTick() }
          continue
        }
        nextWholeTick = now.advanced(milliseconds: Int64(Self.tickMilliseconds))
        for client in clients.withLock({ Array($0.byToken.values) }) { client.tick(now) }
      }
    }
  }
}

/// The owner of a socket. Called on the reactor's thread: it must not block.
protocol ReactorClient: AnyObject, Sendable {
  func ready(readable: Bool, writable: Bool)
  func tick(_ now: Deadline)
  /// Between ticks, while callers wait on threads that others need.
  func hurriedTick()
}

/// A point on the monotonic clock.
struct Deadline: Comparable, Sendable {
  private let nanoseconds: Int64

  static var now: Deadline {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Deadline(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
  }

  static let never = Deadline(nanoseconds: .max)

  private init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  func advanced(milliseconds: Int64) -> Deadline { Deadline(nanoseconds: nanoseconds + milliseconds * 1_000_000) }

  func advanced(by duration: Duration) -> Deadline {
    let (seconds, attoseconds) = duration.components
    let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    guard !overflow, scaled < .max - nanoseconds - 1_000_000_000 else { return .never }
    return Deadline(nanoseconds: nanoseconds + scaled + attoseconds / 1_000_000_000)
  }

  func milliseconds(from start: Deadline) -> Int64 { (nanoseconds - start.nanoseconds) / 1_000_000 }

  static func < (left: Self, right: Self) -> Bool { left.nanoseconds < right.nanoseconds }
}
