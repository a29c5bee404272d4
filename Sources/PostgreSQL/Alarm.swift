internal import CPostgreSQL
internal import Glibc

/// Wakes a thread out of poll(2) or epoll(7): an eventfd(2).
final class Alarm: Sendable {
  /// What the thread polls for input.
  let descriptor: Int32

  /// `nil`: the process has no descriptor left.
  init?() {
    let descriptor = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard descriptor >= 0 else { return nil }
    self.descriptor = descriptor
  }

  deinit { close(descriptor) }

  func ring() { eventfd_write(descriptor, 1) }

  func clear() {
    var count: eventfd_t = 0
    eventfd_read(descriptor, &count)
  }
}
