internal import PostgreSQL

/// How many events a page is to have: as many as the configuration says, and fewer where they are large, so that a page
/// weighs about 16 MiB. What the next events weigh is judged by the last ones; the first page, of which nothing is known, is
/// a small one.
struct PageLimit {
  private(set) var events: Int
  private let most: Int
  /// Bytes an event, of the last page that was opened: compressed payloads grow. `nil`: none was.
  private var openedWeight: Int?

  private static let bytes = 16 << 20
  private static let first = 256

  init(_ most: Int) {
    self.most = most
    events = min(most, Self.first)
  }

  mutating func came(_ rows: Rows) {
    guard rows.count > 0 else { return }
    fit(max(rows.byteCount / rows.count, openedWeight ?? Self.bytes / Self.first))
  }

  mutating func opened(_ page: [RecordedEvent]) {
    guard !page.isEmpty else { return }
    let weight = page.reduce(0) { $0 + ((try? $1.payload.get().bytes.count) ?? 0) } / page.count
    openedWeight = weight
    if weight * events > Self.bytes { fit(weight) }
  }

  private mutating func fit(_ weight: Int) { events = max(1, min(most, Self.bytes / max(1, weight))) }
}
