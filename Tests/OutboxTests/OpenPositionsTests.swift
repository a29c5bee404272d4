import Testing

@testable import Outbox

@Suite("Open positions")
struct OpenPositionsTests {
  @Test("come back", arguments: [[], [1], [1, 2, 3], [127, 128, 16_384, 1 << 48], [5, 1_000_000_007]] as [[Int64]])
  func roundTrip(_ positions: [Int64]) {
    #expect(OpenPositions.decode(OpenPositions.encode(positions)) == positions)
  }
}
