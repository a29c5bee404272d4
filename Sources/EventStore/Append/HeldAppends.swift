internal import DequeModule

/// Appends that wait for a lock which somebody's open transaction holds: for a stream, most often. So many of them wait at
/// once, each on a connection of its own, and take turns with the others, in line: some locks are held for longer than
/// others.
struct HeldAppends {
  /// What goes in one call: one append, or several of one stream that expect no version.
  struct Unit: Sendable {
    var requests: [AppendRequest]
  }

  /// All in line come to their turn within about this time.
  private static let round = Duration.seconds(1)
  private static let shortestTurn = Duration.milliseconds(20)

  private let most: Int
  private var line: Deque<Unit> = []
  private var connections = 0
  /// Of these, those on which one waits without a limit.
  private var reserved = 0

  /// - Parameter most: Connections at once.
  init(most: Int) { self.most = most }

  /// Whether none may be set aside, because there are no connections for them.
  var isImpossible: Bool { most == 0 }

  /// How long each may wait for its lock now.
  var turn: Duration {
    isImpossible ? Self.round : max(Self.shortestTurn, Self.round / (1 + line.count / (most - reserved)))
  }

  mutating func add(_ held: [AppendRequest]) {
    var unitOf: [Int: Int] = [:]
    var units: [Unit] = []
    for request in held {
      let stream = request.parts[0].streamKey
      if request.isFloating, let unit = unitOf[stream] {
        units[unit].requests.append(request)
      } else {
        if request.isFloating { unitOf[stream] = units.count }
        units.append(Unit(requests: [request]))
      }
    }
    line.append(contentsOf: units)
  }

  /// Keeps room for a connection on which one append waits without a limit, however long that is; so the line has one more.
  /// ``endReservation()`` ends that.
  ///
  /// - Returns: `false`: there is none.
  mutating func reserve() -> Bool {
    guard connections < most - 1 else { return false }
    connections += 1
    reserved += 1
    return true
  }

  /// The connection is one of those that take turns now: ``next(after:)`` says what goes on it.
  mutating func endReservation() { reserved -= 1 }

  /// What goes now, on a further connection; `nil`: nothing waits, or there is none left.
  mutating func start() -> Unit? {
    guard connections < most, let unit = line.popFirst() else { return nil }
    connections += 1
    return unit
  }

  /// What goes next on a connection that one has done with; `nil`: nothing, and the connection is free.
  ///
  /// - Parameter held: The one, where its lock is held still.
  mutating func next(after held: Unit? = nil) -> Unit? {
    if let held { line.append(held) }
    if let unit = line.popFirst() { return unit }
    connections -= 1
    return nil
  }

  /// Takes a request out of the line; `false` where it is not in it.
  ///
  /// - Parameter isLast: Whether nothing else waits for its stream.
  mutating func withdraw(_ request: AppendRequest) -> (wasWaiting: Bool, isLast: Bool) {
    for index in line.indices {
      guard let place = line[index].requests.firstIndex(where: { $0 === request }) else { continue }
      line[index].requests.remove(at: place)
      guard line[index].requests.isEmpty else { return (true, false) }
      line.remove(at: index)
      return (true, true)
    }
    return (false, false)
  }
}
