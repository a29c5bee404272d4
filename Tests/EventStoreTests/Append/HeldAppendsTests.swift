import TestSupport
import Testing

@testable import EventStore

@Suite("Appends that wait in line for a lock")
struct HeldAppendsTests {
  private static func requests(_ count: Int) -> [AppendRequest] {
    (0..<count).map { AppendSamples.request(StreamName(trusted: "order-\($0)"), .exact(1)) }
  }

  @Test("all come to their turn within a second or so, on the connections that take turns")
  func turns() {
    var held = HeldAppends(most: 4)
    held.add(Self.requests(12))
    #expect(held.turn == .milliseconds(250))
    let reserved = [held.reserve(), held.reserve(), held.reserve(), held.reserve()]
    // The line keeps one.
    #expect(reserved == [true, true, true, false])
    #expect(held.turn == .seconds(1) / 13)
    held.endReservation()
    #expect(held.turn == .seconds(1) / 7)
    held.add(Self.requests(1_000))
    #expect(held.turn == .milliseconds(20))
  }

  @Test("a connection that was reserved goes to the line, and is free when that is empty")
  func reservation() throws {
    var held = HeldAppends(most: 2)
    let requests = Self.requests(3)
    held.add(requests)
    let isReserved = held.reserve()
    let first = held.start()
    let none = held.start()
    #expect(isReserved && none == nil)
    #expect(AppendSamples.isSame(try #require(first).requests, [requests[0]]))
    held.endReservation()
    let second = held.next()
    // Held still: it goes behind the other.
    let third = held.next(after: second)
    #expect(AppendSamples.isSame(try #require(second).requests, [requests[1]]))
    #expect(AppendSamples.isSame(try #require(third).requests, [requests[2]]))
    let again = held.next()
    #expect(AppendSamples.isSame(try #require(again).requests, [requests[1]]))
    let (last, isReservedAgain) = (held.next(), held.reserve())
    #expect(last == nil && !isReservedAgain)
    let end = (held.next(), held.reserve())
    #expect(end.0 == nil && end.1)
  }

  @Test("appends of one stream that expect no version go together; who gives up leaves the others their place")
  func withdrawal() throws {
    var held = HeldAppends(most: 1)
    let floating = (0..<3).map { _ in AppendSamples.request("order-1") }
    let other = AppendSamples.request("order-2", .exact(1))
    held.add([floating[0], other, floating[1], floating[2]])
    let withdrawn = [held.withdraw(floating[1]), held.withdraw(other), held.withdraw(other)]
    #expect(withdrawn.map(\.wasWaiting) == [true, true, false])
    #expect(withdrawn.map(\.isLast) == [false, true, false])
    let unit = held.start()
    #expect(AppendSamples.isSame(try #require(unit).requests, [floating[0], floating[2]]))
    // It is on its way.
    let late = held.withdraw(floating[0])
    let end = held.next()
    #expect(!late.wasWaiting && end == nil)
  }
}
