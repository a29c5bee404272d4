import TestSupport
import Testing

@testable import Outbox

/// Handlers that use something with so much room, at most `limit` of them at a time, with as many events as they like.
private struct Simulation {
  var search: ConcurrencySearch
  var now: Int64 = 0
  var numbers: SeededNumbers
  /// When each one that runs ends, and how long it takes.
  private var running: [(end: Int64, took: Int64)] = []
  var done = 0

  init(_ range: ClosedRange<Int>, seed: UInt64) {
    search = ConcurrencySearch(range)
    numbers = SeededNumbers(seed: seed)
  }

  /// - Parameters:
  ///   - latency: Of a handler that begins when so many run, in nanoseconds, on average.
  /// - Returns: The limit, on average of the second half, and events a second.
  mutating func run(
    events: Int, failing: Double = 0, waiting: Int = .max, latency: (Int) -> Double
  ) -> (limit: Double, rate: Double) {
    var sum = 0.0
    let start = now
    var half = (events: 0, start: start)
    for event in 0..<events {
      while running.count < min(search.limit, waiting) {
        // Exponential: some take much longer than others.
        let factor = -_log(Double.random(in: 0.0001...1, using: &numbers))
        let took = Int64(latency(running.count + 1) * factor) + 1
        running.append((now + took, took))
      }
      let first = running.indices.min { running[$0].end < running[$1].end } ?? 0
      let ended = running.remove(at: first)
      now = max(now, ended.end)
      search.ended(
        after: ended.took, failed: Double.random(in: 0..<1, using: &numbers) < failing, inFlight: running.count + 1,
        now: now)
      if event >= events / 2 {
        if half.events == 0 { half.start = now }
        half.events += 1
        sum += Double(search.limit)
      }
    }
    return (sum / Double(max(1, half.events)), Double(half.events) * 1e9 / Double(max(1, now - half.start)))
  }

  /// Natural logarithm by its series: no C library in a test of numbers.
  private func _log(_ x: Double) -> Double {
    var (x, result) = (x, 0.0)
    while x < 0.5 {
      x *= 2
      result -= 0.6931471805599453
    }
    let z = (x - 1) / (x + 1)
    var (term, sum) = (z, 0.0)
    for n in stride(from: 1, to: 40, by: 2) {
      sum += term / Double(n)
      term *= z * z
    }
    return result + 2 * sum
  }
}

@Suite("Automatic concurrency")
struct ConcurrencySearchTests {
  @Test("what has room for so many is given about so many", arguments: [4, 16, 60, 200], [1, 2, 3] as [UInt64])
  func knee(_ room: Int, _ seed: UInt64) {
    var simulation = Simulation(1...512, seed: seed)
    let found = simulation.run(events: 30_000) { 20e6 * max(1, Double($0) / Double(room)) }
    #expect(found.limit > 0.6 * Double(room) && found.limit < 3 * Double(room), "\(found)")
    // Of what it could do.
    #expect(found.rate > 0.75 * Double(room) / 0.02, "\(found)")
  }

  @Test("what gets worse when it has too much to do is not given too much", arguments: [8, 40], [1, 2, 3] as [UInt64])
  func collapse(_ room: Int, _ seed: UInt64) {
    var simulation = Simulation(1...512, seed: seed)
    let found = simulation.run(events: 30_000) { count in
      let load = Double(count) / Double(room)
      return 20e6 * max(1, load * load)
    }
    #expect(found.limit < 2 * Double(room), "\(found)")
    #expect(found.rate > 0.6 * Double(room) / 0.02, "\(found)")
  }

  @Test(
    "what never gets slower is given all there is; what is slow from the beginning, the least",
    arguments: [1, 2, 3] as [UInt64])
  func ends(_ seed: UInt64) {
    var simulation = Simulation(2...64, seed: seed)
    #expect(simulation.run(events: 40_000) { _ in 5e6 }.limit > 55)
    var slow = Simulation(2...64, seed: seed)
    #expect(slow.run(events: 40_000) { 5e6 * Double($0) }.limit < 8)
  }

  @Test("when there is less room it goes down, and up again when there is more", arguments: [1, 2, 3] as [UInt64])
  func changes(_ seed: UInt64) {
    var simulation = Simulation(1...256, seed: seed)
    for room in [50, 8, 50] {
      let found = simulation.run(events: 30_000) { 20e6 * max(1, Double($0) / Double(room)) }
      #expect(found.limit > 0.5 * Double(room) && found.limit < 3.5 * Double(room), "\(room): \(found)")
    }
  }

  @Test("many failures: less and less; too little to do: no change")
  func failures() {
    var simulation = Simulation(1...256, seed: 1)
    #expect(simulation.run(events: 20_000, failing: 0.5) { _ in 5e6 }.limit < 2)
    var idle = Simulation(1...256, seed: 1)
    let before = idle.search.limit
    #expect(idle.run(events: 20_000, waiting: 3) { _ in 5e6 }.limit == Double(before))
  }
}
