/// A comparison that can be run by name.
struct Scenario: Sendable {
  let name: String
  /// What the event store does.
  let ours: String
  /// What it is compared with.
  let yardstick: String
  let comparisons: [Comparison]
  /// For rounds that take long: no more of them than this.
  var mostRounds = Int.max
  /// Why it cannot run here; `nil` when it can.
  var obstacle: @Sendable (Effort) -> String? = { _ in nil }
  let contestants: @Sendable (Stage) async throws -> (ours: any Contestant, yardstick: any Contestant)
  /// Figures beside the comparisons, taken after the rounds.
  var remarks: @Sendable (Stage) async throws -> [Figure] = { _ in [] }

  static let all: [Scenario] = [
    .appends32, .appends256, .appends32Function, .lone, .appendsAny, .appendsNew, .batch100,
    .twoProcesses,
    .scan, .scanCodable, .stream100, .sealAppend, .sealAppend32, .sealScan, .importFile,
    .stream10k, .replay10k, .snapshotLoad, .snapshotAppends,
    .rebuild, .projectionLag, .rebuildLag,
    .drain, .drainQueue, .drainKeys, .deliveryLag, .idleGroups, .idleConsumers,
  ]
}
