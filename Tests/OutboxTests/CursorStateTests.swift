import TestSupport
import Testing

@testable import Outbox

@Suite("Cursors, without a database")
struct CursorStateTests {
  @Test("whatever happens: order in a key, nothing lost, nothing again that was written down", arguments: 0..<40)
  func model(_ round: UInt64) throws {
    for seed in 0..<5 {
      var model = CursorModel(
        seed: round * 1000 + UInt64(seed), holdsKeys: round % 2 == 1, perStart: round % 3 == 0 ? 4 : 1,
        timersPass: [nil, true, false][Int(round / 2) % 3])
      do {
        try model.run(events: 120, steps: 1500)
      } catch {
        Issue.record("round \(round), seed \(seed): \(error)")
        return
      }
      // A run in which nothing happened shows nothing.
      let (starts, crashes) = (model.starts, model.crashes)
      #expect(starts >= 120 * 8 / 10 / 4 && crashes > 0)
    }
  }
}
