import Testing

@testable import EventStore

@Suite("What the queue of appends learns")
struct ReturningCallersTests {
  @Test("callers who do not come back are soon not waited for, and tried again now and then")
  func strangers() {
    var returning = ReturningCallers()
    var waits = 0
    for _ in 0..<1000 {
      let expected = returning.worthWaitingFor(of: 8, besides: 2, upTo: 16)
      if expected > 0 {
        waits += 1
        returning.waited(for: expected, of: 8, returned: 0)
      }
    }
    #expect((10...40).contains(waits))
    // They do now.
    var last = 0
    for _ in 0..<1000 {
      last = returning.worthWaitingFor(of: 8, besides: 2, upTo: 16)
      if last > 0 { returning.waited(for: last, of: 8, returned: last) }
    }
    #expect(last == 8)
  }

  @Test("of callers of whom one is slow, the others are waited for")
  func slowCaller() {
    var returning = ReturningCallers()
    var inTime = 0
    for _ in 0..<1000 {
      let expected = returning.worthWaitingFor(of: 8, besides: 0, upTo: 16)
      if expected <= 7 { inTime += 1 }
      returning.waited(for: expected, of: 8, returned: min(expected, 7))
    }
    #expect(inTime > 800)
  }

  @Test("how many there were at once is forgotten after a while")
  func mostOfLate() {
    var most = MostOfLate()
    most.see(100)
    var batches = 0
    while most.most == 100, batches < 1000 {
      batches += 1
      most.see(3)
      most.next(from: 3)
    }
    #expect((8...16).contains(batches) && most.most == 3)
  }
}
