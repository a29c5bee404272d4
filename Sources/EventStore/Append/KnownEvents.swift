internal import FoundationEssentials

/// Where the events of a stream are, by their ids: 24 bytes an event.
struct KnownEvents {
  private struct Entry {
    let id: (UInt64, UInt64)
    let position: Int64

    init(_ id: UUID, _ position: Int64) {
      self.id = withUnsafeBytes(of: id.uuid) {
        ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      }
      self.position = position
    }
  }

  private var entries: [Entry] = []
  private(set) var lastVersion: Int64 = 0

  /// - Parameter version: Higher than those of all that were added before.
  mutating func append(_ id: UUID, version: Int64, position: Int64) {
    entries.append(Entry(id, position))
    lastVersion = version
  }

  /// To be called once, after the last ``append(_:version:position:)``.
  mutating func sort() { entries.sort { $0.id < $1.id } }

  /// The position of the event with this id; `nil`: there is none.
  subscript(id: UUID) -> Int64? {
    let wanted = Entry(id, 0).id
    var range = 0..<entries.count
    while !range.isEmpty {
      let middle = range.lowerBound + range.count / 2
      if entries[middle].id < wanted {
        range = middle + 1..<range.upperBound
      } else {
        range = range.lowerBound..<middle
      }
    }
    guard range.lowerBound < entries.count, entries[range.lowerBound].id == wanted else { return nil }
    return entries[range.lowerBound].position
  }
}
