import EventStore

@testable import Outbox

/// Members that hand shards over, and cursors that become one.
extension CursorModel {
  mutating func split(_ member: Member) {
    guard isCurrent(member), member.state.shards.count > 1 else { return }
    var given = ShardSet(member.state.shards.shards.filter { _ in Bool.random(using: &random) })
    member.state.hold(given)
    given = given.subtracting(member.state.busyShards)
    guard !given.isEmpty, given != member.state.shards else { return member.state.letGo(.all) }
    write(member)
    if let changes = member.state.takeChanges(now: now) {
      // The server was away.
      member.state.putBack(changes)
      return member.state.letGo(.all)
    }
    guard let row = rows[member.row] else { return }
    splits += 1
    lastRow += 1
    rows[lastRow] = Row(shards: given, place: row.place)
    rows[member.row]?.shards = row.shards.subtracting(given)
    member.state.drop(given)
    member.state.letGo(.all)
  }

  mutating func merge(_ member: Member) {
    guard isCurrent(member), member.flights.isEmpty,
      let other = members.first(where: { $0 !== member && $0.row != member.row && isCurrent($0) && $0.flights.isEmpty })
    else { return }
    write(member)
    write(other)
    guard let one = rows[member.row], let two = rows[other.row], member.state.isWritten, other.state.isWritten else {
      // Not written down after all: they are as if they had died.
      members.removeAll { $0 === member || $0 === other }
      return
    }
    merges += 1
    rows[member.row]?.place = one.place.merged(with: two.place, own: one.shards, others: two.shards)
    rows[member.row]?.shards = one.shards.union(two.shards)
    rows[member.row]?.epoch += 1
    rows[other.row] = nil
    members.removeAll { $0 === member || $0 === other }
  }

  /// Two cursors that nobody has are taken over as one.
  mutating func join() {
    let orphans = rows.keys.filter { row in !members.contains { $0.row == row && $0.epoch == rows[row]?.epoch } }
      .sorted()
    guard orphans.count > 1, let one = rows[orphans[0]], let two = rows[orphans[1]] else { return }
    merges += 1
    func own(_ row: Row) -> CursorPlace {
      row.place.restricted(
        to: row.place.open.filter { position in
          events.contains { $0.position.rawValue == position && row.shards.contains($0.shard) }
        })
    }
    rows[orphans[0]]?.place = own(one).merged(with: own(two), own: one.shards, others: two.shards)
    rows[orphans[0]]?.shards = one.shards.union(two.shards)
    rows[orphans[0]]?.epoch += 1
    rows[orphans[1]] = nil
  }
}
