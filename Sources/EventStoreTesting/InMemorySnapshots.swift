internal import EventStore
internal import FoundationEssentials
internal import Synchronization

/// The snapshots of an ``InMemoryEventLog``.
final class InMemorySnapshots: SnapshotStore {
  private struct Key: Hashable {
    let stream: StreamName
    let shape: SnapshotShape
  }
  private static let kept = 3
  private let kept = Mutex<[Key: [Snapshot]]>([:])

  func latest(
    of stream: StreamName, _ shape: SnapshotShape, upTo version: Int, until time: Date?
  ) async throws(ReadError) -> Snapshot? {
    kept.withLock { kept in
      kept[Key(stream: stream, shape: shape)]?.last { snapshot in
        snapshot.version <= version && time.map { snapshot.latestTime <= $0 } ?? true
      }
    }
  }

  func save(_ snapshot: Snapshot) async throws(AppendError) -> Bool {
    kept.withLock { kept in
      let key = Key(stream: snapshot.stream, shape: snapshot.shape)
      var snapshots = kept[key, default: []].filter { $0.version != snapshot.version }
      snapshots.append(
        Snapshot(
          stream: snapshot.stream, shape: snapshot.shape, version: snapshot.version, eventID: snapshot.eventID,
          latestTime: snapshot.latestTime, state: snapshot.state, keyIDs: snapshot.keyIDs, createdAt: Date()))
      snapshots.sort { $0.version < $1.version }
      kept[key] = snapshots.suffix(Self.kept)
    }
    return true
  }

  func grownStreams(
    of category: String, _ shape: SnapshotShape, by events: Int, after position: Position?
  ) async throws(ReadError) -> (streams: [StreamName], position: Position) {
    // Nothing here outlives the process: what grows is found when it is loaded.
    ([], position ?? .start)
  }
}
