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
    self.most = max(1, most)
    events = min(self.most, Self.first)
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

/// How large payloads may be that the server sends unasked: what it leaves out is asked for again, fewer at a time, so that no
/// page is much larger than 16 MiB, whatever comes behind small events.
struct PayloadCap {
  private(set) var bytes: Int

  /// Most payloads are smaller.
  static let usual = PayloadCap(bytes: 16 << 10)
  /// PostgreSQL has none that is larger.
  static let none = PayloadCap(bytes: 1 << 30)

  var isUsual: Bool { bytes == Self.usual.bytes }

  /// How many events to ask for at once.
  func limit(_ usual: Int) -> Int { isUsual ? usual : max(1, min(usual, (16 << 20) / bytes)) }

  /// Takes note of some rows.
  ///
  /// - Parameter asked: The cap with which they were asked for: a lower one has done its part already.
  /// - Returns: How many of the first ones have their payloads.
  mutating func came(_ rows: Rows, askedWith asked: PayloadCap) -> Int {
    if let left = rows.indices.first(where: { rows.isNull($0, EventDecoder.Column.data) }) {
      bytes = max(bytes, min(16 * asked.bytes, Self.none.bytes))
      return left
    }
    if !isUsual, bytes == asked.bytes,
      rows.indices.allSatisfy({ rows.bytes($0, EventDecoder.Column.data).count <= bytes / 16 })
    {
      bytes /= 16
    }
    return rows.count
  }
}
