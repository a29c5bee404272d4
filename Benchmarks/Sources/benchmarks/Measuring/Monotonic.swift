import Glibc

/// The clock of all measurements: nanoseconds that only rise, the same in every process of the machine.
enum Monotonic {
  static var now: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}

extension Duration {
  var nanoseconds: UInt64 { UInt64(max(0, self / .nanoseconds(1))) }
}
